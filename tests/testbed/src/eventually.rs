//! Waiting for a condition with a bounded deadline: what tests do instead of sleeping.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

/// The first pause between two looks; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Looks again and again until `check` succeeds, and gives what it gives.
///
/// `what` completes the sentence "waiting until ...". A look that hangs is given up at the deadline.
///
/// # Panics
///
/// When `within` has passed, with the reason of the last look.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    within: Duration,
    check: impl AsyncFnMut() -> Result<T, String>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        match poll(within, check).await {
            Ok(value) => value,
            Err(reason) => {
                give_up(&format!("{caller}: gave up after {within:?} waiting until {what}: {reason}"))
            }
        }
    }
}

#[expect(clippy::panic, reason = "this is an assertion of tests, and its message is what a person reads")]
fn give_up(message: &str) -> ! {
    panic!("{message}")
}

/// The same without the panic: the error is the reason of the last look.
pub async fn poll<T>(
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    let mut last = "not looked at yet".to_owned();
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason,
            Err(_) => return Err(format!("the last look did not end; before it: {last}")),
        }
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep_until(deadline.min(Instant::now() + pause)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_gives_what_the_first_successful_look_gives() {
        let mut looks = 0;
        let value = eventually("it is the third look", Duration::from_secs(30), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("it is look {looks}")) }
        });
        assert_eq!(value.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "waiting until pigs fly: no wings")]
    async fn it_panics_with_the_last_reason() {
        eventually("pigs fly", Duration::from_millis(30), async || Err::<(), _>("no wings".into())).await;
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up() {
        let hangs =
            poll(Duration::from_millis(30), async || std::future::pending::<Result<(), String>>().await);
        assert!(hangs.await.unwrap_err().contains("did not end"));
    }
}
