//! What a sweep over an organization's list means: how many projects there are of each kind, which claims' projects are not
//! in it, and whether those are so many that an administrator has to look first. Pure; walking is `controller::sweep`'s, and
//! what becomes of a project that is gone `plan::missing`'s.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use super::ids::ProjectId;

/// So many projects may vanish between two sweeps, whatever the size of the fleet.
const ALWAYS: usize = 3;
/// Beyond that, one in so many.
const ONE_IN: usize = 10;
/// How many unmanaged projects are named.
const NEWEST: usize = 10;

/// Stands for an id: a fleet may have ten thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u64);

impl Mark {
    /// Of a project's id, or of a UID.
    pub fn of(id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// A number in 0..1 that is always the same for one id, for spreading.
    pub fn fraction(self) -> f64 {
        u32::try_from(self.0 >> 32).map_or(0.0, |upper| f64::from(upper) / (f64::from(u32::MAX) + 1.0))
    }
}

/// The resource that a claim belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is gone: the project is retained.
    Gone,
    /// It exists.
    Exists,
    /// It exists, or may, and its project is not judged: it is very young, is being deleted for it, or belongs to a
    /// namespace that this process does not watch.
    Unjudged,
}

/// A claim with a project, as it was before the walk was begun.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    /// Of the project's id.
    pub project: Mark,
    /// The claim is of the organization that is swept, and not of another one that shares the ledger.
    pub is_of_organization: bool,
    /// Whose it is.
    pub owner: Owner,
}

/// A living project in the list.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its id.
    pub id: &'a ProjectId,
    /// Its name.
    pub name: &'a str,
    /// When it was made, in the server's time.
    pub created_time: Timestamp,
}

/// A project at Composio that no claim has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmanaged {
    /// Its id.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_time: Timestamp,
}

/// How many projects there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Claims whose resource exists.
    pub managed: usize,
    /// Living projects with a claim whose resource is gone.
    pub retained: usize,
    /// Living projects without a claim.
    pub unmanaged: usize,
}

/// List and ledger, compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// How many there are.
    pub counts: Counts,
    /// The youngest of those without a claim.
    pub newest: Vec<Unmanaged>,
    /// All living projects, sorted.
    pub living: Box<[Mark]>,
    /// Claims of resources that exist whose project is not in the list.
    pub absent: BTreeSet<Mark>,
}

/// Compares the claims, as they were before the walk, with what it has shown. A project that was made at `young` or later
/// (server time) and has no claim is not counted: its claim may just be about to know it.
pub fn compare<'a>(claims: &[Claimed], listed: impl Iterator<Item = Listed<'a>>, young: Timestamp) -> Census {
    let claimed: HashSet<Mark> = claims.iter().map(|claim| claim.project).collect();
    let mut census = Census::default();
    let mut living = Vec::new();
    let mut newest: BTreeMap<(Timestamp, &ProjectId), &str> = BTreeMap::new();
    for Listed { id, name, created_time } in listed {
        let mark = Mark::of(id.as_str());
        living.push(mark);
        if claimed.contains(&mark) || created_time >= young {
            continue;
        }
        census.counts.unmanaged += 1;
        newest.insert((created_time, id), name);
        if newest.len() > NEWEST {
            newest.pop_first();
        }
    }
    living.sort_unstable();
    let named = |((created_time, id), name): ((Timestamp, &ProjectId), &str)| Unmanaged {
        id: id.clone(),
        name: name.to_owned(),
        created_time,
    };
    census.newest = newest.into_iter().rev().map(named).collect();
    for claim in claims.iter().filter(|claim| claim.is_of_organization) {
        let lives = living.binary_search(&claim.project).is_ok();
        census.counts.managed += usize::from(claim.owner != Owner::Gone);
        census.counts.retained += usize::from(claim.owner == Owner::Gone && lives);
        if claim.owner == Owner::Exists && !lives {
            census.absent.insert(claim.project);
        }
    }
    census.living = living.into();
    census
}

/// A claim whose project was not in the list; its claim has it still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// Namespace of its resource.
    pub namespace: String,
    /// Name of its resource.
    pub name: String,
    /// The resource is reported missing already.
    pub is_reported: bool,
}

/// Which of the absent projects nobody may call missing before an administrator has confirmed it: all that were not known
/// to be missing, where those are more than three and more than a tenth of the managed ones; otherwise none.
pub fn withheld(
    absent: &BTreeMap<ProjectId, Absent>,
    managed: usize,
    confirmed: &BTreeSet<ProjectId>,
) -> BTreeSet<ProjectId> {
    let is_new = |(id, absent): &(&ProjectId, &Absent)| !absent.is_reported && !confirmed.contains(id);
    let vanished: BTreeSet<ProjectId> = absent.iter().filter(is_new).map(|(id, _)| id.clone()).collect();
    match vanished.len() > ALWAYS && vanished.len() * ONE_IN > managed {
        true => vanished,
        false => BTreeSet::new(),
    }
}

/// What the list says of one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// It lives.
    Listed,
    /// It is not in the list, and should be.
    Absent,
    /// The same, and too many others are not either.
    Withheld,
    /// Nothing: its claim was not known when the walk was begun, or is not judged yet.
    Silent,
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> ProjectId {
        ProjectId::try_from(format!("pr_{number}")).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claims() -> impl Strategy<Value = Vec<(u32, bool, Owner)>> {
        let owner = prop_oneof![Just(Owner::Gone), Just(Owner::Exists), Just(Owner::Unjudged)];
        btree_map(0..40_u32, (any::<bool>(), owner), 0..30)
            .prop_map(|claims| claims.into_iter().map(|(id, (own, owner))| (id, own, owner)).collect())
    }

    fn marked(claims: &[(u32, bool, Owner)]) -> Vec<Claimed> {
        let claimed = |(number, is_of_organization, owner): &(u32, bool, Owner)| Claimed {
            project: Mark::of(id(*number).as_str()),
            is_of_organization: *is_of_organization,
            owner: *owner,
        };
        claims.iter().map(claimed).collect()
    }

    proptest! {
        #[test]
        fn every_project_is_counted_once_and_only_what_a_living_resource_has_can_be_absent(
            claims in claims(), list in btree_map(0..60_u32, 0..100_i64, 0..50),
        ) {
            let ids: Vec<_> = list.iter().map(|(number, second)| (id(*number), at(*second))).collect();
            let listed = ids.iter().map(|(id, created_time)| Listed { id, name: "x", created_time: *created_time });
            let census = compare(&marked(&claims), listed, at(50));
            let is_claimed = |number: &u32| claims.iter().any(|(claimed, ..)| claimed == number);
            let unclaimed = list.iter().filter(|(number, second)| !is_claimed(number) && **second < 50);
            prop_assert_eq!(census.counts.unmanaged, unclaimed.clone().count());
            let mut seconds: Vec<_> = unclaimed.map(|(_, second)| *second).collect();
            seconds.sort_unstable_by(|one, other| other.cmp(one));
            seconds.truncate(NEWEST);
            let newest: Vec<_> = census.newest.iter().map(|known| known.created_time.as_second()).collect();
            prop_assert_eq!(newest, seconds);
            let own = |wanted: fn(Owner) -> bool| {
                claims.iter().filter(move |(_, is_own, owner)| *is_own && wanted(*owner))
            };
            prop_assert_eq!(census.counts.managed, own(|owner| owner != Owner::Gone).count());
            let retained = own(|owner| owner == Owner::Gone).filter(|(number, ..)| list.contains_key(number));
            prop_assert_eq!(census.counts.retained, retained.count());
            let absent = own(|owner| owner == Owner::Exists).filter(|(number, ..)| !list.contains_key(number));
            let absent: BTreeSet<_> = absent.map(|(number, ..)| Mark::of(id(*number).as_str())).collect();
            prop_assert_eq!(census.absent, absent);
        }

        #[test]
        fn a_claim_is_judged_by_its_own_project_only(claims in claims(), list in btree_set(0..60_u32, 0..50), other in 0..60_u32) {
            let census = |list: &BTreeSet<u32>| {
                let ids: Vec<_> = list.iter().map(|number| id(*number)).collect();
                let listed = ids.iter().map(|id| Listed { id, name: "x", created_time: at(0) });
                compare(&marked(&claims), listed, at(50))
            };
            let mut more = list.clone();
            more.insert(other);
            let (before, mut after) = (census(&list).absent, census(&more).absent);
            if !list.contains(&other) && before.contains(&Mark::of(id(other).as_str())) {
                after.insert(Mark::of(id(other).as_str()));
            }
            prop_assert_eq!(before, after);
        }

        #[test]
        fn more_than_three_and_a_tenth_are_withheld_all_or_none(
            absent in btree_map(0..40_u32, any::<bool>(), 0..40), spare in 0..200_usize, confirmed in btree_set(0..40_u32, 0..40),
        ) {
            let managed = absent.len() + spare;
            let confirmed: BTreeSet<_> = confirmed.into_iter().map(id).collect();
            let all: BTreeMap<_, _> = absent
                .iter()
                .map(|(number, is_reported)| {
                    let (namespace, name) = ("team".to_owned(), number.to_string());
                    (id(*number), Absent { namespace, name, is_reported: *is_reported })
                })
                .collect();
            let held = withheld(&all, managed, &confirmed);
            let new: BTreeSet<_> =
                absent.iter().filter(|(_, is_reported)| !**is_reported).map(|(number, _)| id(*number)).collect();
            let new: BTreeSet<_> = new.difference(&confirmed).cloned().collect();
            let is_too_many = new.len() > (managed / 10).max(3);
            prop_assert_eq!(held, if is_too_many { new } else { BTreeSet::new() });
        }

        #[test]
        fn what_was_confirmed_is_never_withheld(numbers in vec(0..100_u32, 0..100)) {
            let absent = || Absent { namespace: "team".to_owned(), name: "shop".to_owned(), is_reported: false };
            let all: BTreeMap<_, _> = numbers.iter().map(|number| (id(*number), absent())).collect();
            let confirmed: BTreeSet<_> = all.keys().cloned().collect();
            prop_assert!(withheld(&all, all.len(), &confirmed).is_empty());
        }
    }
}
