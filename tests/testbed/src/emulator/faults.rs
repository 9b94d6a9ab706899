//! Faults: what can go wrong with a request, rules that say for which requests it does, and what a fault makes of an answer.
//! Waiting and committing happen in `exchange`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Body, Delivery};
use super::errors::Refusal;
use super::identifiers::mask;
use super::journal::Operation;

/// Whether a fault strikes before the request has had its effect, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Nothing has happened yet, and with an answer at this point nothing will.
    BeforeCommit,
    /// The effect is there (if the request was valid); the caller may never hear of it.
    AfterCommit,
}

/// What a caller hears at once of a request that commits later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateAnswer {
    /// The connection is cut.
    Cut,
    /// 504 with the error envelope.
    GatewayTimeout,
}

/// Which answer to a request that is handled twice the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The first one came in time; the repetition was one too many.
    First,
    /// The first one was lost on its way to the gateway.
    Second,
}

/// What goes wrong. All errors carry the three rate headers, as every answer does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The request takes longer.
    Delay {
        /// Where it waits.
        point: Point,
        /// How long.
        milliseconds: u64,
    },
    /// The request waits until the gate of this name lets it go.
    Hold {
        /// Where it waits.
        point: Point,
        /// See [`Control::gate`](super::Control::gate).
        gate: String,
    },
    /// The connection is closed without a byte of an answer.
    Cut {
        /// Before or after the effect.
        point: Point,
    },
    /// A failure of the server with the error envelope.
    ServerError {
        /// Before or after the effect.
        point: Point,
        /// 500 or above.
        status: u16,
    },
    /// A page of the edge instead of JSON: with 403 the challenge "Just a moment…", otherwise an error page.
    Html {
        /// Before or after the effect.
        point: Point,
        /// Any status.
        status: u16,
    },
    /// 302, before the effect, to a path of the emulator that is no API route: who follows it appears in the journal.
    Redirect,
    /// 429 with the flat body of API 9, before the effect.
    RateLimited {
        /// Value of `Retry-After`.
        retry_after_seconds: u64,
    },
    /// 401/10401 `Invalid x-org-api-key`, before the effect.
    InvalidOrganizationKey,
    /// 401/801 with a masked key, before the effect.
    InvalidProjectKey,
    /// 401 "Access denied" (10401 on organization routes, 902 on project routes), before the effect.
    AccessDenied,
    /// 403 with the generic envelope, before the effect.
    Forbidden,
    /// 400/10400 with this entry in `errors`, before the effect.
    BadRequest {
        /// The only entry of `errors`.
        message: String,
    },
    /// After the effect: `Content-Length` is right, but only half of the body comes before the connection ends.
    ShortBody,
    /// After the effect: half of the JSON text, with a `Content-Length` that fits it.
    CutJson,
    /// After the effect: a 2xx without this top-level member. Other answers are left alone.
    WithoutMember {
        /// Such as `id`, `api_key`, `next_cursor`.
        name: String,
    },
    /// After the effect: a 2xx in which this top-level member has another value. Other answers are left alone.
    SetMember {
        /// Such as `next_cursor`.
        name: String,
        /// Any JSON.
        value: Value,
    },
    /// After the effect: unknown members in every object of the answer.
    ExtraMembers,
    /// Any JSON answer.
    Answer {
        /// Before or after the effect.
        point: Point,
        /// Any status.
        status: u16,
        /// Any JSON.
        body: Value,
    },
    /// The request is handled twice, one after the other, as by a gateway that repeats it; the caller gets one of the two
    /// answers.
    Twice {
        /// Which.
        answer: Which,
    },
    /// The caller hears a failure at once; the effect happens when the gate of this name lets it, if it is still valid then.
    CommitLate {
        /// See [`Control::gate`](super::Control::gate).
        gate: String,
        /// What the caller hears.
        answer: LateAnswer,
    },
}

impl Fault {
    /// 500 with the error envelope.
    pub fn server_error(point: Point) -> Self {
        Self::ServerError { point, status: 500 }
    }

    fn category(&self) -> Category {
        match self {
            Self::Delay { .. } => Category::Delay,
            Self::Hold { .. } => Category::Hold,
            _ => Category::Answer,
        }
    }

    /// The answer of a fault that strikes before the effect; `None` for all others.
    pub(super) fn answer_before(&self, operation: Operation, request_id: &str) -> Option<Answer> {
        let refused = |refusal: Refusal| Some(Answer::refused(&refusal, request_id));
        match self {
            Self::Cut { point: Point::BeforeCommit } | Self::CommitLate { answer: LateAnswer::Cut, .. } => {
                Some(Answer::cut())
            }
            Self::CommitLate { answer: LateAnswer::GatewayTimeout, .. } => refused(Refusal::server(504)),
            Self::ServerError { point: Point::BeforeCommit, status } => refused(Refusal::server(*status)),
            Self::Html { point: Point::BeforeCommit, status } => Some(Answer::edge_page(*status)),
            Self::Answer { point: Point::BeforeCommit, status, body } => {
                Some(Answer::json(*status, body.clone()))
            }
            Self::Redirect => Some(Answer::redirect()),
            Self::RateLimited { retry_after_seconds } => {
                Some(Answer::over_budget(*retry_after_seconds, 10_000, 60))
            }
            Self::InvalidOrganizationKey => refused(Refusal::invalid_organization_key()),
            Self::InvalidProjectKey => {
                refused(Refusal::invalid_project_key(&mask("ak_0000000000000000ESjq")))
            }
            Self::AccessDenied if operation.is_organization_route() => {
                refused(Refusal::banned_on_organization_route())
            }
            Self::AccessDenied => refused(Refusal::banned_on_project_route()),
            Self::Forbidden => {
                refused(Refusal::forbidden("You do not have permission to perform this action"))
            }
            Self::BadRequest { message } => refused(Refusal::validation(vec![message.clone()])),
            _ => None,
        }
    }

    /// What becomes of the answer after the effect.
    pub(super) fn alter(&self, mut answer: Answer, request_id: &str) -> Answer {
        match self {
            Self::Cut { point: Point::AfterCommit } => return Answer::cut(),
            Self::ServerError { point: Point::AfterCommit, status } => {
                return Answer::refused(&Refusal::server(*status), request_id);
            }
            Self::Html { point: Point::AfterCommit, status } => return Answer::edge_page(*status),
            Self::Answer { point: Point::AfterCommit, status, body } => {
                return Answer::json(*status, body.clone());
            }
            Self::ShortBody => answer.delivery = Delivery::ShortBody,
            Self::CutJson => answer.delivery = Delivery::CutJson,
            Self::WithoutMember { name } => {
                if let Some(members) = answer.success_members() {
                    members.remove(name);
                }
            }
            Self::SetMember { name, value } => {
                if let Some(members) = answer.success_members() {
                    members.insert(name.clone(), value.clone());
                }
            }
            Self::ExtraMembers => {
                if let Body::Json(body) = &mut answer.body {
                    add_unknown_members(body);
                }
            }
            _ => {}
        }
        answer
    }
}

fn add_unknown_members(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add_unknown_members);
            members.insert("unknown_member".to_owned(), json!({"nested": [1, null, "x"]}));
        }
        Value::Array(items) => items.iter_mut().for_each(add_unknown_members),
        _ => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Category {
    Delay,
    Hold,
    Answer,
}

/// For which requests a fault strikes. A filter that is absent matches every authenticated request.
///
/// A request takes at most one delay, one hold and one other fault, each from the oldest rule that matches. So rules of one
/// kind make a sequence ("the first is cut, the second fails"), and kinds can be combined ("slow, then cut").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only for calls with credentials of this organization.
    #[serde(default)]
    pub organization: Option<String>,
    /// Only for this operation.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Only for the project of this id or, at creation, of this name.
    #[serde(default)]
    pub project: Option<String>,
    /// For so many requests, then the rule is gone. Absent: until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

impl FaultRule {
    /// A rule that strikes every request until it is cleared.
    pub fn new(fault: Fault) -> Self {
        Self { fault, organization: None, operation: None, project: None, times: None }
    }

    /// Only for this organization.
    #[must_use]
    pub fn organization(mut self, id: impl Into<String>) -> Self {
        self.organization = Some(id.into());
        self
    }

    /// Only for this operation.
    #[must_use]
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only for the project of this id or name.
    #[must_use]
    pub fn project(mut self, id_or_name: impl Into<String>) -> Self {
        self.project = Some(id_or_name.into());
        self
    }

    /// Only for the next `times` matching requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.organization.as_deref().is_none_or(|id| id == subject.organization)
            && self.operation.is_none_or(|operation| operation == subject.operation)
            && self.project.as_deref().is_none_or(|project| subject.project.contains(&Some(project)))
            && self.times != Some(0)
    }
}

/// What the rules look at.
pub(super) struct Subject<'a> {
    pub(super) organization: &'a str,
    pub(super) operation: Operation,
    /// Id and name, as far as known.
    pub(super) project: [Option<&'a str>; 2],
}

/// What strikes one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    pub(super) delay: Option<Fault>,
    pub(super) hold: Option<Fault>,
    pub(super) answer: Option<Fault>,
}

/// A rule in force, with the number by which it can be cleared.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ActiveRule {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) rule: FaultRule,
}

/// All rules in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rules {
    active: Vec<ActiveRule>,
    last: u64,
}

impl Rules {
    /// Adds a rule; gives its number.
    pub(super) fn add(&mut self, rule: FaultRule) -> u64 {
        self.last += 1;
        self.active.push(ActiveRule { id: self.last, rule });
        self.last
    }

    /// The rules in force.
    pub(super) fn active(&self) -> &[ActiveRule] {
        &self.active
    }

    /// Removes those for which `keep` is false; gives their number.
    pub(super) fn retain(&mut self, keep: impl Fn(&ActiveRule) -> bool) -> usize {
        let before = self.active.len();
        self.active.retain(keep);
        before - self.active.len()
    }

    /// What strikes this request; uses the rules up.
    pub(super) fn take(&mut self, subject: &Subject<'_>) -> Taken {
        let taken = Taken {
            delay: self.take_one(subject, Category::Delay),
            hold: self.take_one(subject, Category::Hold),
            answer: self.take_one(subject, Category::Answer),
        };
        self.active.retain(|active| active.rule.times != Some(0));
        taken
    }

    fn take_one(&mut self, subject: &Subject<'_>, category: Category) -> Option<Fault> {
        let rule = &mut self
            .active
            .iter_mut()
            .find(|active| active.rule.fault.category() == category && active.rule.matches(subject))?
            .rule;
        rule.times = rule.times.map(|times| times - 1);
        Some(rule.fault.clone())
    }
}

/// The top-level members of a JSON text, empty when it is none.
pub(super) fn members(body: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(body).unwrap_or_default()
}
