//! Random wishes in random worlds, reachable or not. No laws.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use crate::domain::budget::Room;
use crate::domain::claim::tests::walk::{self, Op, Walk, ops};
use crate::domain::claim::{Published, Record};
use crate::domain::drift::{DriftPolicy, DriftSpec, LookView};
use crate::domain::evidence::{Detail, Evidence, Found, Settling};
use crate::domain::failure::Failure;
use crate::domain::plan::laws::settings;
use crate::domain::plan::model::{SETTLE, desired, owner};
use crate::domain::reason::Reason;
use crate::domain::settings::{Member, Settings};
use crate::domain::takeover::{TakeOverSeen, TakeOverView};
use crate::domain::world::{
    Capability, ClaimView, Desired, InvalidKeyPolicy, KeyHealth, KeysSeen, OwnKey, Pass, SecretView,
    SettingsView, World,
};

fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![4 => 0..200_u64, 1 => 3400..3800_u64].prop_map(Duration::from_secs)
}

/// Evidence around a walk's time, which is the start of the walk and some minutes.
fn evidence() -> impl Strategy<Value = Evidence> {
    let keys = prop_oneof![3 => Just(vec![0]), 1 => proptest::collection::vec(0..20_i64, 0..3)];
    let detail = (keys, proptest::bool::weighted(0.2));
    let found =
        (0..2_u8, -100..400_i64, proptest::bool::weighted(0.2), proptest::option::weighted(0.8, detail));
    proptest::option::weighted(0.7, found).prop_map(|found| Evidence {
        is_settled: true,
        found: found.map(|(number, second, is_claimed, detail)| {
            let created_time = walk::start() + SignedDuration::from_secs(second);
            let at = |after: &i64| created_time + SignedDuration::from_secs(*after);
            let detail =
                detail.map(|(keys, is_used)| Detail { keys: keys.iter().map(at).collect(), is_used });
            Found { id: walk::id(number), created_time, is_claimed, detail }
        }),
    })
}

fn some_settings() -> impl Strategy<Value = Settings> {
    let members = proptest::sample::subsequence(Member::ALL.to_vec(), 0..=Member::ALL.len());
    members.prop_map(|members| settings(&members))
}

fn settings_view() -> impl Strategy<Value = SettingsView> {
    prop_oneof![
        3 => Just(SettingsView::Unseen),
        2 => (some_settings(), any::<bool>())
            .prop_map(|(observed, is_patched)| SettingsView::Seen { observed, is_patched }),
        1 => Just(SettingsView::Patched),
        1 => Just(SettingsView::Failed(Failure::transient("reset"))),
        1 => Just(SettingsView::Failed(Failure::terminal(Reason::KeyRejected, "dead"))),
    ]
}

/// Versions of the Secret: few, so that two of them are often the same.
fn version() -> impl Strategy<Value = String> {
    (0..2_u8).prop_map(|number| number.to_string())
}

/// A key in it that the claim does not know, and a Secret of an earlier name.
fn found() -> impl Strategy<Value = (Option<String>, Option<Published>)> {
    let earlier = || Published { name: "before".to_owned(), uid: "earlier-uid".to_owned() };
    let earlier = any::<bool>().prop_map(move |is_there| is_there.then(earlier));
    (proptest::option::weighted(0.2, version()), proptest::option::weighted(0.1, earlier))
        .prop_map(|(version, earlier)| (version, earlier.flatten()))
}

fn pass() -> BoxedStrategy<Pass> {
    let evidence = proptest::option::weighted(0.7, evidence());
    let exists = proptest::option::of(any::<bool>());
    let disproved = proptest::option::weighted(0.3, version());
    let keys = proptest::option::weighted(0.6, keys());
    (evidence, any::<bool>(), exists, settings_view(), any::<bool>(), disproved, keys)
        .prop_map(|(evidence, is_key_refused, exists, settings, has_mutated, disproved, keys)| {
            let take_over = TakeOverSeen::default();
            let mut pass = Pass {
                evidence,
                is_key_refused,
                exists,
                keys,
                has_mutated,
                disproved,
                take_over,
                ..Pass::default()
            };
            pass.saw_settings(settings);
            pass
        })
        .boxed()
}

fn drift() -> impl Strategy<Value = DriftSpec> {
    let policy = prop_oneof![3 => Just(DriftPolicy::Correct), 1 => Just(DriftPolicy::Report)];
    let trouble = (Reason::SettingsNotApplied, "displayName".to_owned());
    let trouble = proptest::option::weighted(0.3, Just(trouble));
    (policy, trouble).prop_map(|(policy, trouble)| DriftSpec { policy, is_asked: false, trouble })
}

fn look() -> impl Strategy<Value = LookView> {
    (proptest::bool::weighted(0.3), proptest::bool::weighted(0.3))
        .prop_map(|(is_due, is_tried)| LookView { is_due, is_tried })
}

fn key_health() -> impl Strategy<Value = KeyHealth> {
    let policy = prop_oneof![
        Just(InvalidKeyPolicy::RegenerateIfNoneLeft),
        Just(InvalidKeyPolicy::Regenerate),
        Just(InvalidKeyPolicy::Report)
    ];
    let is_asked = proptest::bool::weighted(0.2);
    (policy, is_asked, proptest::bool::weighted(0.2))
        .prop_map(|(on_invalid, is_asked, is_reported)| KeyHealth { on_invalid, is_asked, is_reported })
}

/// What a read by id shows, around a walk's time.
fn keys() -> impl Strategy<Value = KeysSeen> {
    let own = prop_oneof![Just(OwnKey::Unlisted), Just(OwnKey::Listed), Just(OwnKey::Expired)];
    let birth = (-100..400_i64).prop_map(|second| walk::start() + SignedDuration::from_secs(second));
    prop_oneof![
        1 => Just(KeysSeen::NoProject),
        5 => (own, proptest::collection::vec(birth, 0..3)).prop_map(|(own, others)| KeysSeen::Listed { own, others }),
    ]
}

fn wish() -> BoxedStrategy<Desired> {
    let endpoint = prop_oneof![
        Just(Capability::Unknown),
        Just(Capability::Available),
        Just(Capability::Unavailable),
        Just(Capability::Doubtful)
    ];
    let pause = proptest::option::weighted(0.2, (1..60_u64).prop_map(Duration::from_secs));
    let regenerates = prop_oneof![2 => Just(Capability::Unknown), 1 => Just(Capability::Unavailable)];
    (some_settings(), drift(), (endpoint, regenerates), pause, proptest::bool::weighted(0.2), key_health())
        .prop_map(
            |(settings, drift, (settings_endpoint, regenerate_key), pause, is_suspended, key_health)| {
                Desired {
                    drift,
                    settings_endpoint,
                    regenerate_key,
                    key_health,
                    room: pause.map(Room::paused).unwrap_or_default(),
                    is_suspended,
                    ..desired(settings)
                }
            },
        )
        .boxed()
}

fn secret() -> impl Strategy<Value = SecretView> {
    let ours =
        |is_current| SecretView::Ours { uid: "secret-uid".to_owned(), has_key: is_current, is_current };
    prop_oneof![
        2 => Just(SecretView::Absent),
        1 => Just(SecretView::Foreign("somebody".to_owned())),
        2 => any::<bool>().prop_map(ours),
    ]
}

/// Whose claim there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Mine,
    Neighbour,
    /// Of the same namespace, before that was made again.
    Former,
    /// Of another namespace.
    Stranger,
    Unreadable,
    Nobody,
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![
        12 => Just(Whose::Mine),
        1 => Just(Whose::Neighbour),
        1 => Just(Whose::Former),
        1 => Just(Whose::Stranger),
        1 => Just(Whose::Unreadable),
        1 => Just(Whose::Nobody),
    ]
}

pub(super) fn claim_view(whose: Whose, mut record: Record) -> ClaimView {
    let mut theirs = owner("resource-0");
    match whose {
        Whose::Mine => theirs = owner("resource-1"),
        Whose::Neighbour => {}
        Whose::Former => theirs.namespace_uid = "made again".to_owned(),
        Whose::Stranger => theirs.namespace = "another".to_owned(),
        Whose::Unreadable => return ClaimView::Unreadable("not JSON".to_owned()),
        Whose::Nobody => return ClaimView::Absent,
    }
    record.claim = record.claim.rebound(theirs);
    ClaimView::Present(Box::new(record))
}

/// A wish in a world. A world has no `Debug` of its own, because it holds a key.
pub(super) struct Case(pub(super) Desired, pub(super) World);

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case(wish, world) = self;
        let claim = record(world).map(|record| &record.claim);
        let (secret, settling, pass) = (&world.secret, &world.settling, &world.pass);
        let (is_held, is_in_flight) = (world.is_held, world.is_in_flight);
        write!(f, "{wish:?}\n{claim:?}\nheld {is_held} in flight {is_in_flight}\n")?;
        let (unproven, earlier) = (&world.unproven_key, &world.earlier);
        write!(f, "{secret:?} {unproven:?} {earlier:?}\n{settling:?}\n{pass:?}")
    }
}

pub(super) fn case() -> BoxedStrategy<Case> {
    let clocks = (spans(), spans(), proptest::option::of(spans()));
    let flags = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.1), proptest::bool::weighted(0.2));
    (wish(), (ops(16), whose()), clocks, flags, (secret(), found()), (pass(), look()))
        .prop_map(
            |(
                wish,
                (ops, whose),
                (after, seen_for, nothing_for),
                (is_held, is_in_flight, is_key_suspected),
                secret,
                (pass, look),
            )| {
                let (secret, (unproven_key, earlier)) = secret;
                let mut walk = Walk::new();
                for op in &ops {
                    let _ = walk.step(op);
                }
                let now = walk.now + SignedDuration::try_from(after).unwrap();
                let settling = Settling { now, settle: SETTLE, seen_for, nothing_for };
                let (owner, claim) = (owner("resource-1"), claim_view(whose, walk.record));
                let superseded_retention = Duration::from_mins(1);
                let world = World {
                    owner,
                    claim,
                    is_held,
                    is_in_flight,
                    secret,
                    unproven_key,
                    earlier,
                    superseded_retention,
                    settling,
                    take_over: TakeOverView::default(),
                    look,
                    is_key_suspected,
                    pass,
                };
                Case(wish, world)
            },
        )
        .boxed()
}

pub(super) fn record(world: &World) -> Option<&Record> {
    match &world.claim {
        ClaimView::Present(record) => Some(record),
        ClaimView::Absent | ClaimView::Unreadable(_) => None,
    }
}

pub(super) fn is_mine(world: &World) -> bool {
    record(world).is_none_or(|record| record.claim.owner().uid == "resource-1")
}

/// A world whose claim is this resource's, owned and settled, and where nothing forbids the next step.
pub(super) fn owned_case() -> BoxedStrategy<Case> {
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2));
    (case(), some_settings(), flags)
        .prop_map(|(Case(wish, world), applied, flags)| {
            let (has_applied, is_renamed, is_gone) = flags;
            let mut walk = Walk::new();
            for op in [Op::Announce, Op::Created { attempt: 1, id: 1, has_key: true }] {
                walk.step(&op).unwrap();
            }
            let mut record = walk.record;
            if has_applied {
                record.claim = record.claim.with_settings(applied, walk.now).unwrap();
            }
            if is_renamed {
                for (name, uid) in [("before", "earlier-uid"), ("shop", "secret-uid")] {
                    let published = Published { name: name.to_owned(), uid: uid.to_owned() };
                    record.claim = record.claim.publishing(published, walk.now).unwrap();
                }
            }
            let wish = Desired {
                is_suspended: false,
                room: Room::default(),
                settings_endpoint: if is_gone { Capability::Unavailable } else { Capability::Available },
                ..wish
            };
            Case(wish, World { claim: claim_view(Whose::Mine, record), is_in_flight: false, ..world })
        })
        .boxed()
}
