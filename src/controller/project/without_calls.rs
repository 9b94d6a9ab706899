//! What goes on while no calls may be made for an organization: a published Secret comes back from the claim, which has
//! the key. What is done, `domain::plan` decides; here is where the facts come from that the organization's own reconcile
//! does not vouch for.

use url::Url;

use super::gather::{Facts, Kept, Known, gather};
use super::publish::publish;
use crate::composio::BootInstant;
use crate::controller::api_error::failure;
use crate::controller::context::Context;
use crate::crd::{ComposioOrganization, DEFAULT_ENDPOINT};
use crate::domain::budget::Room;
use crate::domain::claim::{Phase, Record};
use crate::domain::failure::Failure;
use crate::domain::plan::{Action, Wish, validate, without_calls};
use crate::domain::settings::Settings;
use crate::domain::takeover::Permits;
use crate::domain::world::{Capability, ClaimView, Desired, OrganizationFacts, OrganizationView, Pass};

/// Most actions: write, record.
const MOST_ACTIONS: usize = 4;

/// Restores the Secret of a claim that is the resource's own. `facts` keeps what was seen.
pub(super) async fn keep_secret(
    context: &Context,
    wish: Wish,
    bound_to: Option<&str>,
    facts: &mut Facts,
) -> Result<(), Failure> {
    let Some(desired) = desired(context, wish) else { return Ok(()) };
    let last = context.organizations.last(&desired.organization);
    let mut pass = Pass::default();
    for _ in 0..MOST_ACTIONS {
        let now = last.as_ref().map_or_else(jiff::Timestamp::now, |last| last.client.server_now());
        let known = Known { bound_to, settings_interval: context.observe_interval };
        let gathered =
            gather(context, BootInstant::now(), now, &desired, &pass, known, Kept::default()).await?;
        let Some(record) = own(&gathered.world.claim, &desired) else { return Ok(()) };
        facts.saw(&desired, &gathered.world);
        let action = without_calls(&desired, &gathered.world, &record.claim);
        let action = action.map_err(|illegal| Failure::bug(illegal.to_string()))?;
        // A ledger that was restored or copied changes nothing before it is confirmed. Read live: the organization may
        // not have been looked at yet.
        if action.is_some() && context.ledger.header().await?.is_moved(&desired.organization) {
            return Ok(());
        }
        match action {
            Some(Action::PublishSecret) => {
                publish(context, &desired, record, gathered.secret.as_ref()).await?;
                pass.has_mutated = true;
            }
            Some(Action::WriteClaim(claim)) => {
                let written = context.ledger.update(record, &claim, record.key.as_ref()).await;
                written.map_err(|error| failure("writing the claim", &error))?;
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn own<'a>(claim: &'a ClaimView, desired: &Desired) -> Option<&'a Record> {
    match claim {
        ClaimView::Present(record)
            if record.claim.owner().uid == desired.uid && record.claim.phase() == Phase::Owned =>
        {
            Some(record)
        }
        _ => None,
    }
}

/// The wish with the facts of a ComposioOrganization that exists, or with the name that the status gives the project. A
/// hint is enough to look for a claim by: whose it is, the claim says itself.
fn desired(context: &Context, mut wish: Wish) -> Option<Desired> {
    let mut facts = if let Some(organization) = context.organizations.object(&wish.organization) {
        facts(&organization)
    } else {
        let entries = wish.secret.template.values().any(|template| template.contains("{baseUrl}"));
        if entries || wish.secret.entries.base_url.is_some() {
            // Nobody knows the URL any more.
            return None;
        }
        wish.project_name.clone_from(wish.known_as.as_ref()?);
        OrganizationFacts {
            id: None,
            template: "{name}".to_owned(),
            defaults: Settings::default(),
            settings_endpoint: Capability::Unknown,
            regenerate_key: Capability::Unknown,
            base_url: String::new(),
            room: Room::default(),
            permits: Permits::default(),
        }
    };
    facts.settings_endpoint = context.organizations.settings_endpoint(&wish.organization);
    validate(wish, &OrganizationView::Ready(facts)).ok()
}

fn facts(organization: &ComposioOrganization) -> OrganizationFacts {
    let spec = &organization.spec;
    let url = spec.endpoint.as_ref().and_then(|endpoint| endpoint.url.as_deref()).unwrap_or(DEFAULT_ENDPOINT);
    let defaults = spec.project_defaults.as_ref().and_then(|defaults| defaults.settings.as_ref());
    OrganizationFacts {
        id: None,
        template: spec.project_name_template.clone().unwrap_or_else(|| "{name}".to_owned()),
        defaults: defaults.map(Settings::from).unwrap_or_default(),
        settings_endpoint: Capability::Unknown,
        regenerate_key: Capability::Unknown,
        // As the client of this endpoint writes it.
        base_url: Url::parse(url)
            .map_or_else(|_| url.to_owned(), String::from)
            .trim_end_matches('/')
            .to_owned(),
        room: Room::default(),
        permits: Permits::default(),
    }
}
