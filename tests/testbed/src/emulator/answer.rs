//! An answer before it goes on the wire, and the ways to damage one. The server turns it into bytes here; nothing decides here.

use std::io;

use axum::body::{Body as HttpBody, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Map, Value, json};

use super::budget::RateHeaders;
use super::errors::Refusal;

/// Where redirects of the emulator lead: to no API route.
const REDIRECT_TARGET: &str = "/login?next=api";

/// The content of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Json(Value),
    Html(&'static str),
    Nothing,
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    /// The promised length, half of the bytes, then the end of the connection.
    ShortBody,
    /// Half of the bytes, with a length that fits.
    CutJson,
    /// No byte; the connection is closed.
    Cut,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Body,
    pub(super) delivery: Delivery,
    location: Option<&'static str>,
    retry_after_seconds: Option<u64>,
}

impl Answer {
    fn new(status: u16, body: Body) -> Self {
        Self { status, body, delivery: Delivery::Whole, location: None, retry_after_seconds: None }
    }

    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::new(status, Body::Json(body))
    }

    pub(super) fn refused(refusal: &Refusal, request_id: &str) -> Self {
        Self::json(refusal.status, refusal.body(request_id))
    }

    /// The connection is closed instead of an answer.
    pub(super) fn cut() -> Self {
        Self { delivery: Delivery::Cut, ..Self::new(500, Body::Nothing) }
    }

    /// The top-level members of a 2xx with JSON.
    pub(super) fn success_members(&mut self) -> Option<&mut Map<String, Value>> {
        match &mut self.body {
            Body::Json(Value::Object(members)) if (200..300).contains(&self.status) => Some(members),
            _ => None,
        }
    }

    /// The flat body of API 9.
    pub(super) fn over_budget(retry_after_seconds: u64, limit: u32, window_seconds: u64) -> Self {
        let minutes = window_seconds.div_ceil(60);
        let message = format!("Rate limit exceeded. Limit: {limit} requests per {minutes} minutes");
        let flat = Self::json(429, json!({ "message": message }));
        Self { retry_after_seconds: Some(retry_after_seconds), ..flat }
    }

    pub(super) fn redirect() -> Self {
        Self { location: Some(REDIRECT_TARGET), ..Self::new(302, Body::Nothing) }
    }

    /// A page of the edge or of the dashboard app (API 2).
    pub(super) fn edge_page(status: u16) -> Self {
        let page = match status {
            403 => {
                "<!DOCTYPE html><html><head><title>Just a moment...</title></head>\
                 <body><h1>Security Checkpoint</h1><p>Checking your browser before you continue.</p></body></html>"
            }
            404 => {
                "<!DOCTYPE html><html><head><title>404: This page could not be found.</title></head>\
                 <body><div id=\"__next\"><h1>404</h1><h2>This page could not be found.</h2></div></body></html>"
            }
            _ => {
                "<!DOCTYPE html><html><head><title>Error</title></head>\
                 <body><h1>Something went wrong</h1><p>Please try again in a few minutes.</p></body></html>"
            }
        };
        Self::new(status, Body::Html(page))
    }

    /// The answer on the wire. An answer that is to be cut becomes a response marked with [`CutMark`].
    pub(super) fn into_response(self, date: Timestamp, rate: RateHeaders) -> Response<HttpBody> {
        if self.delivery == Delivery::Cut {
            return cut_response();
        }
        let (bytes, content_type) = match self.body {
            Body::Json(value) => (value.to_string().into_bytes(), Some("application/json; charset=utf-8")),
            Body::Html(page) => (page.as_bytes().to_vec(), Some("text/html; charset=utf-8")),
            Body::Nothing => (Vec::new(), None),
        };
        let half = bytes.len() / 2;
        let mut response = match self.delivery {
            Delivery::ShortBody => short_body(&bytes, half),
            Delivery::CutJson => Response::new(HttpBody::from(bytes[..half].to_vec())),
            Delivery::Whole | Delivery::Cut => Response::new(HttpBody::from(bytes)),
        };
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, HeaderValue::from_static(location));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers.insert("x-ratelimit", HeaderValue::from(rate.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(rate.remaining));
        if let Ok(window) = HeaderValue::try_from(format!("{}s", rate.window_seconds)) {
            headers.insert("x-ratelimit-window-size", window);
        }
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).ok();
        if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
            headers.insert(DATE, date);
        }
        response
    }
}

/// Marks a response that must not be sent: the server closes the connection instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutMark;

/// A response that the server replaces by the end of the connection.
pub(super) fn cut_response() -> Response<HttpBody> {
    let mut response = Response::new(HttpBody::empty());
    response.extensions_mut().insert(CutMark);
    response
}

/// Promises all bytes, sends `half` of them, and ends the connection.
fn short_body(bytes: &[u8], half: usize) -> Response<HttpBody> {
    let first = stream::iter([Ok(Bytes::copy_from_slice(&bytes[..half]))]);
    let end = stream::once(async {
        // Gives the server the turn in which it puts head and first half on the wire; without it an error discards both.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    let mut response = Response::new(HttpBody::from_stream(first.chain(end)));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    response
}
