//! The guards of the safety protocols. Each one can be taken away, and then the laws must find out.

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
    /// A project that stands in another claim is not ours.
    AlreadyClaimed,
    /// A 409 is no verdict while another attempt is open.
    OtherAttemptOpen,
    /// An answer that meets a conflict is merged, not dropped.
    AnswerMerged,
    /// An answer clears its own attempt only.
    OwnAttemptOnly,
    /// A project that no claim can hold is deleted.
    Discard,
    /// A regenerate is announced before it is sent.
    KeyAnnounced,
    /// A second regenerate waits until the first is settled.
    KeySettle,
    /// The key of a creation is not taken while a regenerate may have killed it.
    DoubtfulKey,
    /// The resource is read live before a project or a Secret is made for it.
    LiveOwner,
    /// A look at the resource is old after some seconds.
    PublishGate,
    /// A claim goes to the same namespace only, by UID.
    NamespaceUid,
    /// A claim whose owner lives stays with it.
    HolderAlive,
    /// Nothing is done for a claim while an answer for it is awaited.
    InFlight,
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
    /// One witness does not decide that a project is gone.
    TwoWitnesses,
}

impl Guard {
    /// The kind of trouble in which its absence shows soonest.
    pub(crate) fn bias(self) -> Bias {
        match self {
            Guard::SendGate
            | Guard::GateFromLook
            | Guard::PublishGate
            | Guard::LiveOwner
            | Guard::HolderAlive => Bias::Stops,
            Guard::PolicyInForce | Guard::EarlierDeletion => Bias::Withdrawals,
            Guard::TwoWitnesses => Bias::Overlooking,
            Guard::SettleByServerClock
            | Guard::SettleByOwnClock
            | Guard::InFlight
            | Guard::AnswerMerged
            | Guard::LeavingSettle
            | Guard::OrphanSettle
            | Guard::DeletionSettle
            | Guard::KeySettle
            | Guard::DoubtfulKey => Bias::LostAnswers,
            Guard::Untouched | Guard::Window | Guard::AlreadyClaimed => Bias::Strangers,
            _ => Bias::None,
        }
    }

    /// Those without which a history of moderate length breaks a law.
    pub(crate) const ALL: [Guard; 29] = [
        Guard::ClaimBeforeCall,
        Guard::CompareAndSwap,
        Guard::SendGate,
        Guard::GateFromLook,
        Guard::SettleByServerClock,
        Guard::SettleByOwnClock,
        Guard::TwoEmptyWalks,
        Guard::Window,
        Guard::Untouched,
        Guard::AlreadyClaimed,
        Guard::OtherAttemptOpen,
        Guard::AnswerMerged,
        Guard::OwnAttemptOnly,
        Guard::Discard,
        Guard::KeyAnnounced,
        Guard::KeySettle,
        Guard::DoubtfulKey,
        Guard::LiveOwner,
        Guard::PublishGate,
        Guard::NamespaceUid,
        Guard::HolderAlive,
        Guard::InFlight,
        Guard::OrphanSettle,
        Guard::ForeignSecret,
        Guard::DeletionSettle,
        Guard::EarlierDeletion,
        Guard::PolicyInForce,
        Guard::LeavingSettle,
        Guard::TwoWitnesses,
    ];
    pub(crate) const PROVEN: [Guard; 10] = [
        Guard::ClaimBeforeCall,
        Guard::CompareAndSwap,
        Guard::TwoEmptyWalks,
        Guard::Window,
        Guard::Untouched,
        Guard::OwnAttemptOnly,
        Guard::KeyAnnounced,
        Guard::NamespaceUid,
        Guard::HolderAlive,
        Guard::ForeignSecret,
    ];
}
