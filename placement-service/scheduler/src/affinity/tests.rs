//! Lists, placements, both together, and random histories.

use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn holders(slots: usize) -> Holders {
    let mut holders = Holders::default();
    holders.renumber(slots, |_| None);
    holders
}

fn holders_of(holders: &Holders, document: &str) -> BTreeSet<EngineIndex> {
    let mut random = StdRng::seed_from_u64(1);
    let current_holders = holders.get(holders.key(document));
    current_holders.sample(&mut random).collect()
}

fn place(holders: &mut Holders, document: &str, slot: EngineIndex, now: Instant) {
    let key = holders.key(document);
    let was_held = holders.holds(key, slot);
    holders.record_placement(key, slot, was_held, now);
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_list_replaces_the_one_before() {
    let mut holders = holders(3);
    holders.set_list(0, &names(&["a", "b"]));
    holders.set_list(2, &names(&["b", "b"]));
    assert_eq!(holders_of(&holders, "b"), [0, 2].into());
    holders.set_list(0, &names(&["a", "c"]));
    assert_eq!(holders_of(&holders, "a"), [0].into());
    assert_eq!(holders_of(&holders, "b"), [2].into());
    assert_eq!(holders_of(&holders, "c"), [0].into());
}

#[test]
fn a_placement_counts_until_its_time_to_live() {
    let mut holders = holders(2);
    let now = Instant::now();
    let document = holders.key("a");
    place(&mut holders, "a", 1, now);
    holders.set_list(1, &[]);
    assert!(holders.holds(document, 1), "it may still be loading");
    place(&mut holders, "a", 1, now + PLACEMENT_TTL / 2);
    holders.expire(now + PLACEMENT_TTL);
    assert!(holders.holds(document, 1), "placed again since");
    holders.expire(now + PLACEMENT_TTL * 3 / 2);
    assert!(!holders.holds(document, 1));
}

#[test]
fn a_list_overrides_a_placement() {
    let mut holders = holders(1);
    let now = Instant::now();
    place(&mut holders, "a", 0, now);
    holders.set_list(0, &names(&["a"]));
    holders.expire(now + PLACEMENT_TTL);
    assert_eq!(holders_of(&holders, "a"), [0].into());
    place(&mut holders, "a", 0, now + PLACEMENT_TTL);
    holders.set_list(0, &[]);
    assert_eq!(
        holders_of(&holders, "a"),
        [].into(),
        "it was loaded, and is no more"
    );
}

#[test]
fn of_many_holders_a_sample_is_considered() {
    let mut holders = holders(100);
    for slot in 0..100 {
        holders.set_list(slot, &names(&["a"]));
    }
    let mut random = StdRng::seed_from_u64(1);
    let current_holders = holders.get(holders.key("a"));
    let mut sample_counts = [0; 100];
    for _ in 0..1000 {
        let sampled: BTreeSet<EngineIndex> = current_holders.sample(&mut random).collect();
        assert_eq!(sampled.len(), SAMPLE_SIZE, "{sampled:?}");
        sampled
            .into_iter()
            .for_each(|slot| sample_counts[slot as usize] += 1);
    }
    // 160 on average, with a deviation of 12.
    assert!(
        sample_counts.iter().all(|n| (100..220).contains(n)),
        "{sample_counts:?}"
    );
}

#[test]
fn placements_move_with_their_engines() {
    let mut holders = holders(2);
    let now = Instant::now();
    place(&mut holders, "a", 0, now);
    place(&mut holders, "b", 1, now);
    holders.renumber(3, |slot| (slot == 1).then_some(2));
    assert_eq!(holders_of(&holders, "a"), [].into());
    assert_eq!(holders_of(&holders, "b"), [2].into());
    holders.expire(now + PLACEMENT_TTL);
    assert!(holders.by_document.is_empty());
}

#[test]
fn placements_are_bounded() {
    let mut holders = holders(1);
    let now = Instant::now();
    for n in 0..MAX_PLACEMENTS + 1000 {
        place(&mut holders, &n.to_string(), 0, now);
    }
    assert_eq!(holders.by_document.len(), MAX_PLACEMENTS);
    assert_eq!(holders.ends.len(), MAX_PLACEMENTS);
}

#[derive(Clone, Debug)]
enum Step {
    List(EngineIndex, Vec<u8>),
    Placed(u8, EngineIndex),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u32, prop::collection::vec(0..6_u8, 0..5)).prop_map(|(s, d)| Step::List(s, d)),
        (0..6_u8, 0..4_u32).prop_map(|(d, s)| Step::Placed(d, s)),
        (0..40_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// A document is held if it is listed or was placed within the time-to-live; nothing is left afterwards.
    #[test]
    fn random_histories_agree_with_a_plain_model(steps in prop::collection::vec(step(), 0..100)) {
        let mut holders = holders(4);
        let mut now = Instant::now();
        let mut lists = vec![BTreeSet::new(); 4];
        let mut placed: HashMap<(String, EngineIndex), Instant> = HashMap::new();
        for step in steps {
            match step {
                Step::List(slot, documents) => {
                    let documents: Vec<String> = documents.iter().map(u8::to_string).collect();
                    holders.set_list(slot, &documents);
                    placed.retain(|(document, at), _| *at != slot || !documents.contains(document));
                    lists[slot as usize] = documents.into_iter().collect();
                }
                Step::Placed(document, slot) => {
                    place(&mut holders, &document.to_string(), slot, now);
                    // A placement of a listed document is not remembered.
                    if !lists[slot as usize].contains(&document.to_string()) {
                        placed.insert((document.to_string(), slot), now + PLACEMENT_TTL);
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            holders.expire(now);
            for document in 0..6_u8 {
                let document = document.to_string();
                for slot in 0..4_u32 {
                    let listed = lists[slot as usize].contains(&document);
                    let until = placed.get(&(document.clone(), slot));
                    let wanted = listed || until.is_some_and(|until| *until > now);
                    let key = holders.key(&document);
                    prop_assert_eq!(holders.holds(key, slot), wanted);
                    prop_assert_eq!(holders.get(key).contains(slot), wanted);
                }
            }
        }
        for slot in 0..4 {
            holders.set_list(slot, &[]);
        }
        holders.expire(now + PLACEMENT_TTL);
        prop_assert!(holders.by_document.is_empty() && holders.placed.is_empty() && holders.ends.is_empty());
    }
}
