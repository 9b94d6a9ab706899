//! What a complete walk over an organization's list has shown, as small as it can be: there may be ten thousand projects.
//! The walk itself is in `projects`.

use jiff::Timestamp;

use super::clock::BootInstant;
use crate::domain::ids::{OrganizationId, ProjectId};

/// A living project in the list, as far as it is used.
#[derive(Debug, Clone)]
pub struct ListedProject {
    /// Its id.
    pub id: ProjectId,
    /// Its exact name. Other people's may be anything.
    pub name: Box<str>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All living projects of an organization, each once.
#[derive(Debug)]
pub struct Listing {
    /// When the walk was begun: what happened later may be in it or not.
    pub begun: BootInstant,
    /// The same in the server's time.
    pub begun_time: Timestamp,
    /// How many calls it took.
    pub pages: usize,
    /// The organization that its projects belong to, deleted ones as well; unknown where there is none.
    pub organization_id: Option<OrganizationId>,
    /// Sorted by id.
    living: Box<[ListedProject]>,
}

impl Listing {
    /// From the items of all pages. A project that was listed twice, because the pages have shifted, is there once; living,
    /// if it was ever shown so.
    pub fn new(
        begun: BootInstant,
        begun_time: Timestamp,
        pages: usize,
        organization_id: Option<OrganizationId>,
        mut living: Vec<ListedProject>,
    ) -> Self {
        living.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        living.dedup_by(|one, other| one.id == other.id);
        Self { begun, begun_time, pages, organization_id, living: living.into() }
    }

    /// All living projects, in order of their ids.
    pub fn living(&self) -> &[ListedProject] {
        &self.living
    }

    /// Whether a project lives.
    pub fn contains(&self, id: &ProjectId) -> bool {
        self.living.binary_search_by(|project| project.id.cmp(id)).is_ok()
    }

    /// The living project of exactly this name; the youngest, if there were several.
    pub fn named(&self, name: &str) -> Option<&ListedProject> {
        self.living.iter().filter(|project| &*project.name == name).max_by_key(|project| project.created_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_that_shifted_pages_have_shown_twice_is_there_once() {
        let project = |id: &str, name: &str, second| ListedProject {
            id: ProjectId::try_from(id.to_owned()).unwrap(),
            name: name.into(),
            created_at: Timestamp::from_second(second).unwrap(),
        };
        let shown = vec![
            project("c", "shop", 3),
            project("a", "x", 2),
            project("c", "shop", 3),
            project("b", "shop", 1),
        ];
        let listing = Listing::new(BootInstant::now(), Timestamp::UNIX_EPOCH, 2, None, shown);
        let ids: Vec<_> = listing.living().iter().map(|project| project.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(listing.named("shop").map(|project| project.id.as_str()), Some("c"));
        let id = |text: &str| ProjectId::try_from(text.to_owned()).unwrap();
        assert!(listing.contains(&id("b")) && !listing.contains(&id("d")) && listing.named("y").is_none());
    }
}
