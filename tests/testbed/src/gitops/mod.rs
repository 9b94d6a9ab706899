//! The code of Flux and Argo CD, which judges what they would make of our objects. It is built from their Go modules, whose
//! versions and checksums stand in `flux/go.mod` and `argocd/go.mod`; what they are asked, the tests say.

mod argocd;
mod artifacts;
mod flux;

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub use self::argocd::{ArgoCd, Judgement, Question};
pub use self::flux::{Flux, KStatus, kstatus, kustomized};
use crate::programs::tail;

/// Asks a program that reads questions and writes answers, one JSON value each, in the same order.
async fn ask<Q: Serialize, A: DeserializeOwned>(
    mut command: Command,
    questions: &[Q],
) -> anyhow::Result<Vec<A>> {
    let mut input = Vec::new();
    for question in questions {
        serde_json::to_writer(&mut input, question)?;
        input.push(b'\n');
    }
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let write = async move { stdin.write_all(&input).await };
    let (written, output) = tokio::join!(write, child.wait_with_output());
    let output = output?;
    ensure!(output.status.success(), "it ended with {}: {}", output.status, tail(&output.stderr, 20));
    written?;
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let answers: Vec<A> = answers.collect::<Result<_, _>>()?;
    ensure!(answers.len() == questions.len(), "{} answers to {} questions", answers.len(), questions.len());
    Ok(answers)
}
