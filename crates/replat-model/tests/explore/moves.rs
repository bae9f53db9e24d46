//! What can happen next in a world.

use std::fmt;

use replat_model::deploy::Event;
use replat_model::ids::Side;
use replat_model::next::Action;

use crate::orders::Answer;
use crate::rules::{ActionId, Append, Ask, Decision, EventId, Flaw, HistoryId, Rules, Sight};
use crate::world::{Delivery, LateOrder, Runner, Task, World};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A runner reads the log.
    Reads(usize),
    /// A runner looks and makes up its mind.
    Decides(usize, Eyes, Decision),
    /// A runner's order reaches the databases.
    Acts(usize, ActionId, Outcome),
    /// A runner's event reaches the log.
    Appends(usize, EventId, Outcome),
    /// A runner's memory is lost.
    Crashes(usize),
    /// An order arrives for the second time, or after its sender has gone.
    ComesLate(ActionId, Outcome),
    /// A runner's stream carries an entry over.
    Carries(usize, Side, Delivery),
    /// A client's write is let in.
    BeginsWrite(Side),
    /// A client's write commits and is acknowledged.
    Commits(Side),
    /// A tick.
    TimePasses,
    /// A person says something.
    Asks(Ask),
}

/// What a runner can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eyes {
    /// Everything.
    Open,
    /// Not this side's fence.
    NoFence(Side),
    /// Not how far the streams are behind.
    NoLag,
}

/// How an order or an event fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was done and its sender never heard of it.
    Unheard,
    /// It was done, and a second one is on its way.
    DoneAndSentTwice,
    /// It was refused.
    Refused,
}

/// Something that happens and the world afterwards; or the promise that it breaks.
pub type Move = (Deed, Result<World, String>);

/// All moves from a world.
pub struct Moves {
    /// In no particular order.
    pub moves: Vec<Move>,
    /// Whether a move was left out because the world would grow too large.
    pub is_cut: bool,
}

impl Deed {
    /// The runners that bring themselves further by this without luck and without anybody's help, a bit each.
    pub fn progress(&self) -> u8 {
        match self {
            Deed::Reads(runner)
            | Deed::Decides(runner, Eyes::Open, _)
            | Deed::Acts(runner, _, Outcome::Done | Outcome::Refused)
            | Deed::Appends(runner, ..)
            | Deed::Carries(runner, ..) => 1 << runner,
            Deed::Commits(_) | Deed::TimePasses => 0b11,
            _ => 0,
        }
    }

    /// The deed in words.
    pub fn told(&self, rules: &Rules) -> String {
        let name = |runner: &usize| ["A", "B"][*runner];
        match self {
            Deed::Reads(r) => format!("{} reads the log", name(r)),
            Deed::Decides(r, eyes, decision) => {
                format!("{} looks{eyes}: {}", name(r), told(*decision, rules))
            }
            Deed::Acts(r, action, outcome) => {
                format!("{}'s order: {:?} {outcome}", name(r), rules.action(*action))
            }
            Deed::Appends(r, event, outcome) => {
                format!("{}'s event: {} {outcome}", name(r), brief(rules.event(*event)))
            }
            Deed::Crashes(r) => format!("{} crashes", name(r)),
            Deed::ComesLate(action, outcome) => {
                format!("a late order: {:?} {outcome}", rules.action(*action))
            }
            Deed::Carries(r, from, delivery) => format!("{}'s stream from {from}: {delivery:?}", name(r)),
            Deed::BeginsWrite(side) => format!("a client's write is let in on {side}"),
            Deed::Commits(side) => format!("the client's write commits on {side} and is acknowledged"),
            Deed::TimePasses => "time passes".into(),
            Deed::Asks(ask) => format!("a person asks: {ask:?}"),
        }
    }
}

fn told(decision: Decision, rules: &Rules) -> String {
    match decision {
        Decision::Act(action) => format!("to do {:?}", rules.action(action)),
        Decision::Append(event) => format!("to record {}", brief(rules.event(event))),
        Decision::Wait | Decision::HoldClients => "to wait".into(),
        Decision::Done => "nothing is left to do".into(),
    }
}

/// An event without its certificate.
fn brief(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split(", proof:")
        .next()
        .unwrap_or_default()
        .split(", certificate:")
        .next()
        .unwrap_or_default()
        .to_owned()
}

impl fmt::Display for Eyes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Eyes::Open => Ok(()),
            Eyes::NoFence(side) => write!(f, " and cannot read {side}'s fence"),
            Eyes::NoLag => write!(f, " and cannot read the lag"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Done => "is done",
            Outcome::Unheard => "is done, and the answer is lost",
            Outcome::DoneAndSentTwice => "is done, and a duplicate is on its way",
            Outcome::Refused => "is refused",
        })
    }
}

/// Everything that can happen next.
pub fn moves(world: &World, rules: &mut Rules) -> Moves {
    let mut all = Moves { moves: Vec::new(), is_cut: false };
    for runner in 0..rules.bounds.runners {
        all.run(world, runner, rules);
        all.crash(world, runner, rules);
        all.carry(world, runner);
    }
    all.late_order(world, rules);
    all.write(world, rules);
    all.ask(world, rules);
    if world.now < rules.bounds.ticks {
        all.add(Deed::TimePasses, World { now: world.now + 1, ..*world });
    }
    all
}

impl Moves {
    fn add(&mut self, deed: Deed, world: World) {
        self.moves.push((deed, Ok(world)));
    }

    fn run(&mut self, world: &World, runner: usize, rules: &mut Rules) {
        match world.runners[runner].task {
            Task::Idle => self.add(Deed::Reads(runner), with_task(world, runner, Task::Read(world.history))),
            Task::Read(history) => self.decide(world, runner, history, rules),
            Task::Act(history, action) => self.act(world, runner, history, action, rules),
            Task::Append { to, event, unproved } => self.append(world, runner, to, event, unproved, rules),
        }
    }

    fn decide(&mut self, world: &World, runner: usize, history: HistoryId, rules: &mut Rules) {
        let sight = world.sight(runner, rules);
        let clear = rules.decide(history, &sight);
        self.decided(world, runner, history, Eyes::Open, clear);
        if !rules.bounds.blind {
            return;
        }
        for eyes in [Eyes::NoFence(Side::Blue), Eyes::NoFence(Side::Green), Eyes::NoLag] {
            let decision = rules.decide(history, &eyes.dim(sight));
            if decision != clear {
                self.decided(world, runner, history, eyes, decision);
            }
        }
    }

    fn decided(&mut self, world: &World, runner: usize, history: HistoryId, eyes: Eyes, decision: Decision) {
        let task = match decision {
            Decision::Act(action) => Task::Act(history, action),
            Decision::Append(event) => Task::Append { to: history, event, unproved: false },
            Decision::Wait | Decision::Done | Decision::HoldClients => Task::Idle,
        };
        let outcome = match decision {
            Decision::HoldClients => Err("clients are held, and the runner waits".into()),
            _ => Ok(with_task(world, runner, task)),
        };
        self.moves.push((Deed::Decides(runner, eyes, decision), outcome));
    }

    fn act(&mut self, world: &World, runner: usize, history: HistoryId, action: ActionId, rules: &mut Rules) {
        let mut after = with_task(world, runner, Task::Idle);
        let token = rules.token(history);
        let (evidence, unproved) = match after.act(rules.action(action), token, Some(runner), rules) {
            Answer::Refused => return self.add(Deed::Acts(runner, action, Outcome::Refused), after),
            Answer::Came { evidence, unproved } => (evidence, unproved),
        };
        let event = rules.became(history, action, evidence, world.now);
        if event.is_some() {
            self.add(Deed::Acts(runner, action, Outcome::Unheard), after);
        }
        if let Some(event) = event {
            after.runners[runner].task = Task::Append { to: history, event, unproved };
        }
        self.add(Deed::Acts(runner, action, Outcome::Done), after);
        if world.late == LateOrder::None && can_be_late(rules.action(action), rules) {
            after.late = LateOrder::Sent(action, token);
            self.add(Deed::Acts(runner, action, Outcome::DoneAndSentTwice), after);
        }
    }

    fn append(
        &mut self,
        world: &World,
        runner: usize,
        to: HistoryId,
        event: EventId,
        unproved: bool,
        rules: &mut Rules,
    ) {
        let mut after = with_task(world, runner, Task::Idle);
        if to != world.history && !rules.is_flawed_by(Flaw::AppendUnconditional) {
            return self.add(Deed::Appends(runner, event, Outcome::Refused), after);
        }
        let switched = matches!(rules.event(event), Event::Switched { .. });
        let outcome = match rules.append(world.history, event) {
            Append::OutOfBounds => return self.is_cut = true,
            Append::OutOfPlace(_) if to != world.history => {
                return self.add(Deed::Appends(runner, event, Outcome::Refused), after);
            }
            Append::OutOfPlace(why) => Err(format!("the rules record what cannot stand: {why}")),
            Append::Taken(history) => {
                after.history = history;
                // A lost row was not compared either; then the loss is the better story.
                match switched && unproved && after.broken_promise(rules).is_none() {
                    true => Err("switched, and a row was never compared in this direction".into()),
                    false => Ok(after),
                }
            }
        };
        self.moves.push((Deed::Appends(runner, event, Outcome::Done), outcome));
    }

    fn crash(&mut self, world: &World, runner: usize, rules: &Rules) {
        if world.crashes == rules.bounds.crashes || world.runners[runner] == Runner::default() {
            return;
        }
        let mut after = World { crashes: world.crashes + 1, ..*world };
        after.runners[runner] = Runner::default();
        self.add(Deed::Crashes(runner), after);
        if let Task::Act(history, action) = world.runners[runner].task
            && world.late == LateOrder::None
            && can_be_late(rules.action(action), rules)
        {
            after.late = LateOrder::Sent(action, rules.token(history));
            self.add(Deed::Crashes(runner), after);
        }
    }

    fn carry(&mut self, world: &World, runner: usize) {
        for from in [Side::Blue, Side::Green] {
            let mut after = *world;
            if let Some(delivery) = after.deliver(runner, from) {
                self.add(Deed::Carries(runner, from, delivery), after);
            }
        }
    }

    fn late_order(&mut self, world: &World, rules: &Rules) {
        let LateOrder::Sent(action, token) = world.late else { return };
        let mut after = World { late: LateOrder::Arrived, ..*world };
        let outcome = match after.act(rules.action(action), token, None, rules) {
            Answer::Refused => Outcome::Refused,
            Answer::Came { .. } => Outcome::Done,
        };
        self.add(Deed::ComesLate(action, outcome), after);
    }

    fn write(&mut self, world: &World, rules: &Rules) {
        for side in [Side::Blue, Side::Green] {
            let mut after = *world;
            if after.begin_write(side, rules) {
                self.add(Deed::BeginsWrite(side), after);
            }
        }
        let mut after = *world;
        if let Some(side) = after.commit_write() {
            self.add(Deed::Commits(side), after);
        }
    }

    fn ask(&mut self, world: &World, rules: &mut Rules) {
        for (place, ask) in rules.bounds.asks.iter().enumerate() {
            if world.asked & 1 << place != 0 {
                continue;
            }
            let event = rules.asked(*ask);
            if let Append::Taken(history) = rules.append(world.history, event) {
                let after = World { history, asked: world.asked | 1 << place, ..*world };
                self.add(Deed::Asks(*ask), after);
            }
        }
    }
}

impl Eyes {
    fn dim(self, mut sight: Sight) -> Sight {
        match self {
            Eyes::Open => {}
            Eyes::NoFence(Side::Blue) => sight.fences[0] = None,
            Eyes::NoFence(Side::Green) => sight.fences[1] = None,
            Eyes::NoLag => sight.streams.iter_mut().flatten().for_each(|stream| stream.lag = None),
        }
        sight
    }
}

/// Only what changes a database can do harm when it comes late; the rest is the runner's own.
fn can_be_late(action: &Action, rules: &Rules) -> bool {
    let local = matches!(action, Action::Follow { .. } | Action::Verify { .. } | Action::Prove { .. });
    rules.bounds.late_orders && !local
}

fn with_task(world: &World, runner: usize, task: Task) -> World {
    let mut after = *world;
    after.runners[runner].task = task;
    after
}
