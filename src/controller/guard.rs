//! The frame of every pass: a deadline, and panics caught, so that one object never stops the others.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

use crate::domain::failure::Failure;

/// Runs one pass. A panic and a passed deadline are failures like others.
pub async fn guarded<T>(
    deadline: Duration,
    pass: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, AssertUnwindSafe(pass).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Failure::bug("a panic, see the operator's log")),
        Err(_) => Err(Failure::transient(format!("the pass took longer than {} s", deadline.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Class;

    #[tokio::test]
    async fn a_panic_and_a_pass_that_hangs_are_failures() {
        let panicking = guarded::<()>(Duration::from_mins(1), async { panic!("on purpose") }).await;
        assert_eq!(panicking.unwrap_err().class, Class::Bug);
        let hanging = guarded::<()>(Duration::ZERO, std::future::pending()).await;
        assert_eq!(hanging.unwrap_err().class, Class::Transient);
    }
}
