//! The emulator of the Composio API on its own: for trying the API by hand, and for tests of programs in any language.
//! It knows one organization at the start; everything else comes over its admin routes.
//!
//! ```text
//! cargo run --example emulator -- --listen 127.0.0.1:8787
//! ```

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use testbed::emulator::{Emulator, Options, Organization, OrganizationOptions};

/// Serve an in-memory emulator of the Composio API on a loopback address until Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// Loopback address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,

    /// Name of the organization that exists from the start.
    #[arg(long, default_value = "demo", value_name = "NAME")]
    organization: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, organization } = Arguments::parse();
    let options = Options { listen, ..Options::default() };
    let emulator =
        Emulator::start(options).await.context("try another address with --listen, such as 127.0.0.1:0")?;
    let organization = emulator.control().add_organization(OrganizationOptions::named(organization));
    println!("{}", introduction(emulator.url(), &organization));
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    println!("\nstopped after {} requests", emulator.control().journal().len());
    Ok(())
}

/// What a person needs to go on.
fn introduction(url: &str, organization: &Organization) -> String {
    let Organization { id, name, key } = organization;
    format!(
        r#"Composio API emulator, in memory, until Ctrl-C

  URL               {url}
  Organization      {name} ({id})
  Organization key  {key}

Try (a key of this emulator opens nothing else):

  # create a project with a key
  curl -s {url}/api/v3/org/owner/project/new -H 'x-org-api-key: {key}' \
    -H 'Content-Type: application/json' -d '{{"name": "shop", "should_create_api_key": true}}'

  # list the projects
  curl -s {url}/api/v3/org/owner/project/list -H 'x-org-api-key: {key}'

  # lose the answer to the next creation, after the project was made
  curl -s {url}/_emulator/faults -H 'Content-Type: application/json' \
    -d '{{"fault": {{"kind": "cut", "point": "after_commit"}}, "operation": "create", "times": 1}}'

  # what has been asked for, and what came of it
  curl -s {url}/_emulator/journal

Admin routes: organizations, projects, project-keys, faults, gates, journal under {url}/_emulator;
all of them are explained by:

  curl -s {url}/_emulator"#
    )
}
