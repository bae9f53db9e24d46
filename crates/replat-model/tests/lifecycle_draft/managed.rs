//! Sets that another tool manages: left alone, taken over, given back.

use replat_model::lifecycle::draft::disown;
use replat_model::lifecycle::facts::{Origin, SetFacts};
use replat_model::lifecycle::health::codes;
use replat_model::lifecycle::policy::Lifecycle;

use crate::world::{ahead, events, facts, line, lines, plan, wish};

/// Days around now, all of one origin, of a tool that made five ahead and is on or off.
fn managed(origin: Origin, is_on: bool) -> SetFacts {
    let mut set = events(-2, 2);
    set.level.parts.iter_mut().for_each(|part| part.origin = origin);
    set.managed_by = Some("other 1".into());
    set.managed_as = Some(Lifecycle { ahead_count: Some(5), ..Lifecycle::default() });
    set.managed_off = is_on.then(|| "TURN IT OFF".into());
    set
}

#[test]
fn two_tools_do_not_work_on_one_set_unless_it_is_asked_for_and_then_it_is_said() {
    // Whose the partitions are, whether the other is on, whether taking over is asked for; then whether anything is
    // done, and what is said.
    let rows = [
        (Origin::Foreign, true, None, false, Some("ake it over with `replat adopt`, and switch")),
        (Origin::Foreign, false, None, false, Some("ake it over with `replat adopt`, and switch")),
        (Origin::Adopted, true, None, false, Some("Switch the other tool off for it: TURN IT OFF; or leave")),
        (Origin::Adopted, false, None, true, None),
        (Origin::Made, false, None, true, None),
        (Origin::Foreign, true, Some(true), true, Some("Switch the other tool off for it: TURN IT OFF.")),
        (Origin::Adopted, true, Some(true), true, Some("TURN IT OFF")),
        (Origin::Foreign, false, Some(true), true, None),
        (Origin::Adopted, true, Some(false), false, Some("TURN IT OFF")),
    ];
    for (origin, is_on, adopt, works, said) in rows {
        let case = format!("{origin:?}, on: {is_on}, adopt: {adopt:?}");
        let facts = facts(vec![managed(origin, is_on)]);
        let plan = plan(&facts, &Lifecycle { adopt, forecast: Some(false), ..Lifecycle::default() });
        // Five ahead, as that tool was told: where nobody says otherwise its word holds.
        let create = lines(&plan).iter().filter(|line| line.starts_with("create")).count();
        assert_eq!(create, usize::from(works), "{case}: {:?}", lines(&plan));
        let managed = plan.findings.iter().find(|finding| finding.code == codes::MANAGED);
        match said {
            None => assert_eq!(managed, None, "{case}"),
            Some(words) => {
                let remedy = &managed.unwrap_or_else(|| panic!("{case}: nothing is said")).remedy;
                assert!(remedy.contains(words), "{case}: {remedy}");
            }
        }
    }
}

#[test]
fn what_the_other_tool_was_told_holds_once_it_is_taken_over_and_the_own_word_before_it() {
    let told = |origin, adopt| {
        let set = managed(origin, false);
        let own = Lifecycle { adopt, ..Lifecycle::default() };
        wish(own).of(&set).and_then(|(_, lifecycle)| lifecycle.ahead_count)
    };
    assert_eq!(told(Origin::Foreign, None), None);
    assert_eq!(told(Origin::Foreign, Some(true)), Some(5));
    assert_eq!(told(Origin::Adopted, None), Some(5));
    let set = managed(Origin::Adopted, false);
    let own = Lifecycle { ahead_count: Some(2), ..ahead(3) };
    let (_, both) = wish(own.clone()).of(&set).expect("it is about every set");
    assert_eq!((both.ahead_count, both.ahead), (Some(2), own.ahead));
}

#[test]
fn only_what_was_taken_over_is_given_back() {
    let mut set = managed(Origin::Foreign, false);
    set.level.parts[1].origin = Origin::Adopted;
    set.level.parts[2].origin = Origin::Made;
    let facts = facts(vec![set, events(0, 3)]);
    let units = disown(&facts);
    assert_eq!(units.iter().map(|unit| line(&unit.work)).collect::<Vec<_>>(), ["disown 1"]);
}
