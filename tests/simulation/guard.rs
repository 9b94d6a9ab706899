//! The guards of the safety protocols. Each one can be taken away, and then the laws must find out.
//!
//! Of these no law of this model needs the guard (a million steps without it), so that they cannot be taken away here:
//!
//! | Guard | Why the others suffice in this model |
//! | --- | --- |
//! | A project in another claim is not ours | one organization: the list is asked for the claim's own name, so only a project taken over by its id could meet it |
//! | A project that no claim can hold is deleted | an answer comes within 30 s, and no claim goes before 65 s, unless a person removes it |
//! | A look is old after some seconds (published Secret) | the live read and the namespace's UID refuse the rest |
//! | Nothing is done while an answer is awaited | a pass waits for its own call; whoever comes past it is met by `resourceVersion` and the merge |
//! | One witness does not decide that a project is gone | a look that finds nothing is repeated a settle time later, and a young project is not judged |
//!
//! Tests of `domain::evidence`, `domain::claim::merge` and `domain::plan`, and the scenarios, hold them.

use crate::weather::Bias;

/// One guard; what goes without it is written where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guard {
    /// The announcement stands in the claim before the call.
    ClaimBeforeCall,
    /// Claims are written by `resourceVersion`.
    CompareAndSwap,
    /// Nothing is sent long after the look that decided it.
    SendGate,
    /// The gate counts from the look, which dates the announcement.
    GateFromLook,
    /// A creation is settled by the server's clock.
    SettleByServerClock,
    /// A creation is settled by the own clock, since its first sight.
    SettleByOwnClock,
    /// One empty walk is no proof of absence.
    TwoEmptyWalks,
    /// A project that was born outside every window is not ours.
    Window,
    /// A project that somebody has touched is not ours.
    Untouched,
    /// A 409 is no verdict while another attempt is open.
    OtherAttemptOpen,
    /// An answer that meets a conflict is merged, not dropped.
    AnswerMerged,
    /// An answer clears its own attempt only.
    OwnAttemptOnly,
    /// A regenerate is announced before it is sent.
    KeyAnnounced,
    /// A second regenerate waits until the first is settled.
    KeySettle,
    /// The key of a creation is not taken while a regenerate may have killed it.
    DoubtfulKey,
    /// The resource is read live before a project or a Secret is made for it.
    LiveOwner,
    /// A claim goes to the same namespace only, by UID.
    NamespaceUid,
    /// A claim whose owner lives stays with it.
    HolderAlive,
    /// A claim without owner waits for its outcome.
    OrphanSettle,
    /// A foreign Secret is not written.
    ForeignSecret,
    /// A deletion is judged only when it is settled.
    DeletionSettle,
    /// A deletion that is refused takes back nothing while an earlier one is open.
    EarlierDeletion,
    /// The policy is read live before a deletion is sent.
    PolicyInForce,
    /// A resource that leaves waits for the outcome of its creation.
    LeavingSettle,
    /// A key is dead only if its project does not list it either.
    SecondWitness,
    /// No key of somebody else is killed by default.
    OthersKeys,
    /// A key is replaced at most once per hour.
    OncePerHour,
    /// A replacement that was never answered keeps the next one's key in doubt.
    ReplacementDoubt,
}

impl Guard {
    /// All of them.
    pub(crate) const ALL: [Guard; 28] = [
        Guard::ClaimBeforeCall,
        Guard::CompareAndSwap,
        Guard::SendGate,
        Guard::GateFromLook,
        Guard::SettleByServerClock,
        Guard::SettleByOwnClock,
        Guard::TwoEmptyWalks,
        Guard::Window,
        Guard::Untouched,
        Guard::OtherAttemptOpen,
        Guard::AnswerMerged,
        Guard::OwnAttemptOnly,
        Guard::KeyAnnounced,
        Guard::KeySettle,
        Guard::DoubtfulKey,
        Guard::LiveOwner,
        Guard::NamespaceUid,
        Guard::HolderAlive,
        Guard::OrphanSettle,
        Guard::ForeignSecret,
        Guard::DeletionSettle,
        Guard::EarlierDeletion,
        Guard::LeavingSettle,
        Guard::PolicyInForce,
        Guard::SecondWitness,
        Guard::OthersKeys,
        Guard::OncePerHour,
        Guard::ReplacementDoubt,
    ];

    /// The kind of trouble in which its absence shows soonest.
    pub(crate) fn bias(self) -> Bias {
        match self {
            Guard::SendGate | Guard::GateFromLook | Guard::LiveOwner | Guard::HolderAlive => Bias::Stops,
            Guard::EarlierDeletion | Guard::PolicyInForce => Bias::Withdrawals,
            Guard::SettleByServerClock
            | Guard::SettleByOwnClock
            | Guard::AnswerMerged
            | Guard::LeavingSettle
            | Guard::KeySettle
            | Guard::DoubtfulKey => Bias::LostAnswers,
            Guard::Untouched | Guard::Window => Bias::Strangers,
            Guard::SecondWitness | Guard::OthersKeys | Guard::OncePerHour | Guard::ReplacementDoubt => {
                Bias::Keys
            }
            _ => Bias::None,
        }
    }
}
