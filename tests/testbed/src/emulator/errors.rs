//! The errors that the API answers (API 10): one constructor for each row of the table of slugs and codes. No state.

use serde_json::{Value, json};

/// A refusal with the documented envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    code: u32,
    slug: &'static str,
    message: String,
    suggested_fix: &'static str,
    errors: Vec<String>,
}

impl Refusal {
    fn new(status: u16, code: u32, slug: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, slug, message: message.into(), suggested_fix: "", errors: Vec::new() }
    }

    /// A generic `HTTP_<Name>` error; its code is 10000 and the status (API 10.2).
    fn generic(status: u16, slug: &'static str, message: impl Into<String>) -> Self {
        Self::new(status, 10_000 + u32::from(status), slug, message)
    }

    fn fix(mut self, suggested_fix: &'static str) -> Self {
        self.suggested_fix = suggested_fix;
        self
    }

    /// The body, with the request id that every error carries (API 15.13).
    pub(super) fn body(&self, request_id: &str) -> Value {
        let mut error = json!({
            "message": self.message, "code": self.code, "slug": self.slug, "status": self.status,
            "request_id": request_id, "suggested_fix": self.suggested_fix,
        });
        if !self.errors.is_empty() {
            error["errors"] = json!(self.errors);
        }
        json!({ "error": error })
    }

    /// No credential of the route's kind, or one of another kind in its header.
    pub(super) fn no_credential() -> Self {
        Self::new(401, 906, "Auth_NoAuthProvided", "No API key provided")
            .fix("Send the key in the header that matches its kind.")
    }

    /// A user key in the header of project keys: the mismatch is named, the key is not echoed (API 3).
    pub(super) fn user_key_in_project_header() -> Self {
        Self::new(401, 902, "Auth_Unauthorized", "A user API key was sent in the x-api-key header")
            .fix("Send user API keys in the x-user-api-key header.")
    }

    /// A user key, of which the emulator knows none.
    pub(super) fn user_key_dead() -> Self {
        Self::new(401, 2113, "UserApiKey_Unauthorized", "Invalid or revoked user API key")
    }

    /// An organization key that is unknown or revoked.
    pub(super) fn invalid_organization_key() -> Self {
        let message = "Invalid x-org-api-key. Please check you are using a valid API key.";
        Self::generic(401, "HTTP_Unauthorized", message)
    }

    /// A project key that is unknown, revoked, or of a deleted project.
    pub(super) fn invalid_project_key(masked: &str) -> Self {
        Self::new(401, 801, "APIKey_InvalidAPIKey", format!("Invalid API key: {masked}"))
            .fix("Check that the API key is correct and has not been revoked.")
    }

    /// A project key past its expiry.
    pub(super) fn expired_project_key() -> Self {
        Self::new(401, 811, "APIKey_APIKeyExpired", "API key has expired")
    }

    /// A living project key used from an address that is not on its list.
    pub(super) fn address_not_allowed() -> Self {
        let message = "This request comes from IP address 127.0.0.1, which is not in this API key's IP allowlist. \
            Add it to the allowlist or use another key.";
        Self::new(401, 902, "Auth_Unauthorized", message)
    }

    /// The caller's address is banned, said on an organization route.
    pub(super) fn banned_on_organization_route() -> Self {
        Self::generic(401, "HTTP_Unauthorized", "Access denied")
    }

    /// The caller's address is banned, said on a project route.
    pub(super) fn banned_on_project_route() -> Self {
        Self::new(401, 902, "Auth_Unauthorized", "Access denied")
    }

    /// The settings endpoint refuses a key that works elsewhere (API 7.3).
    pub(super) fn settings_unauthorized() -> Self {
        Self::generic(401, "HTTP_Unauthorized", "Unauthorized")
    }

    /// A scoped key without the area that a route needs.
    pub(super) fn insufficient_permissions(message: &str) -> Self {
        Self::new(403, 812, "APIKey_InsufficientPermissions", message)
    }

    /// The organization is suspended.
    pub(super) fn organization_suspended() -> Self {
        Self::new(403, 2206, "Organization_InsufficientPermissions", "Organization is suspended")
    }

    /// A body, a query or a path that is not valid.
    pub(super) fn validation(errors: Vec<String>) -> Self {
        let refusal = Self::new(400, 10_400, "HTTP_BadRequest", "Validation error while processing request");
        Self { errors, ..refusal }
    }

    /// A name that is taken, as 409 or as the older 400 (API 5.1).
    pub(super) fn name_taken(name: &str, as_400: bool) -> Self {
        let message = format!("Project with name {name} already exists in this organization");
        let (status, slug) = if as_400 { (400, "HTTP_BadRequest") } else { (409, "HTTP_Conflict") };
        Self::generic(status, slug, message)
    }

    /// A project that is unknown, foreign or deleted: always the same answer.
    pub(super) fn project_not_found() -> Self {
        Self::generic(404, "HTTP_NotFound", "Project not found")
    }

    /// A route that is not there, said by the API.
    pub(super) fn route_not_found() -> Self {
        Self::generic(404, "HTTP_NotFound", "Not found")
    }

    /// A method that the route does not have.
    pub(super) fn method_not_allowed() -> Self {
        Self::generic(405, "HTTP_MethodNotAllowed", "Method not allowed")
    }

    /// A route that was taken away.
    pub(super) fn route_removed() -> Self {
        Self::generic(410, "HTTP_Gone", "This endpoint has been removed")
    }

    /// A route without anything behind it.
    pub(super) fn not_implemented() -> Self {
        Self::generic(501, "HTTP_NotImplemented", "Not implemented")
    }

    /// Something that the organization may not do.
    pub(super) fn forbidden(message: &str) -> Self {
        Self::generic(403, "HTTP_Forbidden", message)
    }

    /// A call of the removed versions 1 and 2 (API 2).
    pub(super) fn version_removed() -> Self {
        Self::generic(410, "HTTP_Gone", "This API version has been removed").fix("Use /api/v3.1.")
    }

    /// A failure of the server, with any status from 500 up.
    pub(super) fn server(status: u16) -> Self {
        let (slug, message) = match status {
            502 => ("HTTP_BadGateway", "Bad gateway"),
            503 => ("HTTP_ServiceUnavailable", "Service unavailable"),
            504 => ("HTTP_GatewayTimeout", "Gateway timeout"),
            _ => ("HTTP_InternalServerError", "Internal server error"),
        };
        Self::generic(status, slug, message)
    }
}
