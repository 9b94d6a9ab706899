//! How bad a history is, and in which way: what nobody chose comes more often in some than in others.

use crate::guard::Guard;
use crate::realm::Dice;

/// What there is more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    None,
    /// Answers of API server and Composio take up to 24 s.
    SlowAnswers,
    /// Processes are stopped for a while.
    Stops,
    /// Policies are withdrawn from what is being deleted.
    Withdrawals,
    /// The list overlooks projects and knows them late; reads too.
    Overlooking,
    /// Answers that are lost or come late.
    LostAnswers,
    /// Somebody else makes and deletes projects of our names.
    Strangers,
    /// Somebody else makes and revokes keys of our projects.
    Keys,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// The higher, the less goes wrong at calls and writes.
    pub(crate) mildness: u32,
    pub(crate) bias: Bias,
}

impl Weather {
    /// As chance has it.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let biases = [
            Bias::None,
            Bias::SlowAnswers,
            Bias::Stops,
            Bias::Withdrawals,
            Bias::Overlooking,
            Bias::LostAnswers,
            Bias::Strangers,
            Bias::Keys,
        ];
        Self { mildness: *dice.pick(&[1, 1, 2, 4, 8]).unwrap(), bias: *dice.pick(&biases).unwrap() }
    }

    /// In which the absence of a guard shows soonest.
    pub(crate) fn of(guard: Guard) -> Self {
        Self { mildness: 1, bias: guard.bias() }
    }
}
