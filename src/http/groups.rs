//! Subscribers that are told the same, word for word: one execution writes each event once, and every member takes it from
//! here at its own pace. It owns who belongs together, what waits for whom, and that the work ends with the last member.
//! It must not execute anything nor know how a frame is sent.
//!
//! What waits is bounded: a member that reads too slowly falls out, and goes on by itself behind what it was told last.

use super::execution::Told;
use crate::{domain::actor::Visibility, error::FaultCode};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll, Waker},
};
use tokio::task::AbortHandle;

/// Frames that wait for the slowest member, and their text in bytes; the newest waits however long it is.
const MOST_FRAMES: usize = 256;
const MOST_BYTES: usize = 1 << 20;
/// Room for frames that is kept while none waits.
const KEPT_ROOM: usize = 16;

/// What must be equal so that two subscribers are told the same: what they may see, and what they ask for (the digest of the
/// document, the operation's name and the variables, but for a cursor that only says where to begin).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Everything about the actor that an answer may depend on.
    pub visibility: Visibility,
    /// What is asked for.
    pub document: [u8; 32],
}

/// An event, written once for all.
#[derive(Debug)]
pub struct Frame {
    /// Its sequence; that of the last event for what is none.
    pub sequence: i64,
    /// True for an event that has a sequence of its own. What is none of these ends the stream.
    pub is_event: bool,
    /// What it says.
    pub told: Told,
    /// The code of its first error, if it has one.
    pub failed: Option<FaultCode>,
}

impl Frame {
    fn bytes(&self) -> usize {
        match &self.told {
            Told::Result(text) | Told::Errors(text) | Told::Lost(text) => text.len(),
            Told::Done { .. } => 0,
        }
    }
}

/// What a member is told.
#[derive(Debug)]
pub enum Turn {
    /// The next frame.
    Frame(Arc<Frame>),
    /// The group cannot tell it what comes next: it has to go on by itself, behind what it was told last.
    FallenOut,
}

type All<T> = Arc<Mutex<HashMap<Key, Weak<Group<T>>>>>;

/// All groups of the process, whose members have something in common.
#[derive(Debug)]
pub struct Groups<T>(All<T>);

#[derive(Debug)]
struct Group<T> {
    key: Key,
    common: Arc<T>,
    all: All<T>,
    state: Mutex<State>,
    work: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct State {
    /// Each with the number of members that have not taken it yet.
    frames: VecDeque<(Arc<Frame>, usize)>,
    bytes: usize,
    /// Place of the first frame that waits; places only grow.
    first: u64,
    /// Sequence of the last event that was put here.
    sequence: i64,
    members: usize,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    /// Nothing comes any more.
    is_closed: bool,
}

/// One who is told what the group is told, until dropped.
#[derive(Debug)]
pub struct Member<T> {
    group: Arc<Group<T>>,
    slot: usize,
    place: u64,
    /// Everything up to here was told before the member came; from there on the group has it.
    entered_at: i64,
    /// Sequence of the last event that it was told, by the group or before.
    last: i64,
}

/// Puts frames into a group. Dropped, nothing comes any more.
#[derive(Debug)]
pub struct Publisher<T>(Weak<Group<T>>);

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Groups<T> {
    /// A member of the group of a key, who was told everything up to a sequence. If there is no such group, one is founded
    /// that goes on from there, and `begin` starts its work.
    pub fn enter(&self, key: Key, common: &Arc<T>, sequence: i64, begin: impl FnOnce(Publisher<T>) -> AbortHandle) -> Member<T> {
        let mut all = lock(&self.0);
        let known = all.get(&key).and_then(Weak::upgrade);
        if let Some(member) = known.as_ref().and_then(|group| group.admit(sequence)) {
            return member;
        }
        let group = Arc::new(Group {
            key,
            common: Arc::clone(common),
            all: Arc::clone(&self.0),
            state: Mutex::new(State::new(sequence)),
            work: OnceLock::new(),
        });
        all.insert(key, Arc::downgrade(&group));
        // before the last hold on another group may go, which looks for itself in there
        drop(all);
        drop(known);
        let (slot, place) = lock(&group.state).admit();
        let publisher = Publisher(Arc::downgrade(&group));
        group.work.get_or_init(|| begin(publisher));
        Member { group, slot, place, entered_at: sequence, last: sequence }
    }
}

impl<T> Group<T> {
    /// A new member, unless nothing comes any more.
    fn admit(self: &Arc<Self>, sequence: i64) -> Option<Member<T>> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return None;
        }
        let (slot, place) = state.admit();
        let entered_at = state.sequence;
        drop(state);
        Some(Member { group: Arc::clone(self), slot, place, entered_at, last: sequence })
    }
}

impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.get() {
            work.abort();
        }
        let mut all = lock(&self.all);
        // another may have been founded meanwhile
        if all.get(&self.key).is_some_and(|group| group.strong_count() == 0) {
            all.remove(&self.key);
        }
    }
}

impl State {
    fn new(sequence: i64) -> Self {
        let (frames, wakers, free) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { frames, bytes: 0, first: 0, sequence, members: 0, wakers, free, is_closed: false }
    }

    /// A slot for a waker, and the place of what comes next.
    fn admit(&mut self) -> (usize, u64) {
        self.members += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        });
        (slot, self.first + self.frames.len() as u64)
    }

    fn index_of(&self, place: u64) -> Option<usize> {
        usize::try_from(place.checked_sub(self.first)?).ok()
    }

    fn drop_first(&mut self) {
        if let Some((frame, _)) = self.frames.pop_front() {
            self.bytes -= frame.bytes();
            self.first += 1;
        }
    }

    /// Forgets what everybody has taken.
    fn trim(&mut self) {
        while self.frames.front().is_some_and(|(_, waiting)| *waiting == 0) {
            self.drop_first();
        }
        if self.frames.is_empty() && self.frames.capacity() > KEPT_ROOM {
            self.frames.shrink_to(KEPT_ROOM / 4);
        }
    }

    fn push(&mut self, frame: Frame) {
        if frame.is_event {
            self.sequence = frame.sequence;
        }
        self.bytes += frame.bytes();
        self.frames.push_back((Arc::new(frame), self.members));
        while self.frames.len() > 1 && (self.frames.len() > MOST_FRAMES || self.bytes > MOST_BYTES) {
            self.drop_first();
        }
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }
}

impl<T> Publisher<T> {
    /// Puts a frame in; false if nobody is left.
    pub fn publish(&self, frame: Frame) -> bool {
        let Some(group) = self.0.upgrade() else { return false };
        let mut state = lock(&group.state);
        state.push(frame);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        true
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        let Some(group) = self.0.upgrade() else { return };
        let mut state = lock(&group.state);
        state.is_closed = true;
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> Member<T> {
    /// Notes what it was told elsewhere. True once the group can tell all that follows.
    pub fn was_told(&mut self, sequence: i64) -> bool {
        self.last = self.last.max(sequence);
        self.last >= self.entered_at
    }

    /// Sequence of the last event that it was told.
    pub const fn last(&self) -> i64 {
        self.last
    }

    /// What it took last was not told after all.
    pub const fn take_back(&mut self, frame: &Frame) {
        if frame.is_event {
            self.last = frame.sequence - 1;
        }
    }

    /// What all members have in common.
    pub fn common(&self) -> &Arc<T> {
        &self.group.common
    }

    /// What comes next, if it is there.
    pub fn next_now(&mut self) -> Option<Turn> {
        self.take(None)
    }

    /// What comes next.
    pub fn poll_next(&mut self, context: &Context<'_>) -> Poll<Turn> {
        self.take(Some(context.waker())).map_or(Poll::Pending, Poll::Ready)
    }

    fn take(&mut self, waker: Option<&Waker>) -> Option<Turn> {
        let mut state = lock(&self.group.state);
        loop {
            let Some(index) = state.index_of(self.place) else { return Some(Turn::FallenOut) };
            let Some((frame, waiting)) = state.frames.get_mut(index) else {
                if state.is_closed {
                    return Some(Turn::FallenOut);
                }
                if let (Some(waker), Some(slot)) = (waker, state.wakers.get_mut(self.slot)) {
                    match slot {
                        Some(known) => known.clone_from(waker),
                        None => *slot = Some(waker.clone()),
                    }
                }
                return None;
            };
            *waiting -= 1;
            let frame = Arc::clone(frame);
            self.place += 1;
            if *waiting == 0 {
                state.trim();
            }
            if frame.is_event && frame.sequence <= self.last {
                continue;
            }
            let expected = if frame.is_event { self.last + 1 } else { self.last };
            if frame.sequence != expected {
                return Some(Turn::FallenOut);
            }
            self.last = frame.sequence;
            return Some(Turn::Frame(frame));
        }
    }
}

impl<T> Drop for Member<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.group.state);
        let untaken = state.index_of(self.place).unwrap_or(0);
        for (_, waiting) in state.frames.iter_mut().skip(untaken) {
            *waiting -= 1;
        }
        state.trim();
        state.members -= 1;
        state.wakers[self.slot] = None;
        state.free.push(self.slot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        actor::Actor,
        ids::{UserId, WorkspaceId},
    };
    use futures::{FutureExt, future::poll_fn, task::noop_waker_ref};
    use uuid::Uuid;

    /// Groups, and what puts frames into the newest.
    #[derive(Default)]
    struct Scene {
        groups: Groups<()>,
        publishers: Mutex<Vec<Publisher<()>>>,
    }

    fn key(workspace: u128, document: u8) -> Key {
        let actor = Actor { user: None, workspace: WorkspaceId(Uuid::from_u128(workspace)), expires_at: None };
        Key { visibility: actor.visibility(), document: [document; 32] }
    }

    fn frame(sequence: i64, text: &str) -> Frame {
        Frame { sequence, is_event: true, told: Told::Result(text.into()), failed: None }
    }

    impl Scene {
        fn enter(&self, key: Key, sequence: i64) -> Member<()> {
            self.groups.enter(key, &Arc::default(), sequence, |publisher| {
                lock(&self.publishers).push(publisher);
                tokio::spawn(std::future::pending::<()>()).abort_handle()
            })
        }

        fn founded(&self) -> usize {
            lock(&self.publishers).len()
        }

        fn publish(&self, sequence: i64) -> bool {
            lock(&self.publishers).last().expect("a group").publish(frame(sequence, "{}"))
        }
    }

    /// Sequences that a member is told now; `None` if it falls out.
    fn told(member: &mut Member<()>) -> Option<Vec<i64>> {
        let mut sequences = Vec::new();
        while let Some(turn) = member.next_now() {
            match turn {
                Turn::Frame(frame) => sequences.push(frame.sequence),
                Turn::FallenOut => return None,
            }
        }
        Some(sequences)
    }

    #[tokio::test]
    async fn who_may_see_something_else_or_asks_for_something_else_is_in_another_group() {
        let scene = Scene::default();
        let mut members = vec![scene.enter(key(1, 1), 0), scene.enter(key(1, 1), 0)];
        assert_eq!(scene.founded(), 1);
        members.extend([scene.enter(key(2, 1), 0), scene.enter(key(1, 2), 0)]);
        assert_eq!(scene.founded(), 3);
        assert!(scene.publish(1));
        let all: Vec<_> = members.iter_mut().map(told).collect();
        assert_eq!(all, [Some(vec![]), Some(vec![]), Some(vec![]), Some(vec![1])]);
    }

    #[test]
    fn a_visibility_is_the_workspace_and_not_the_person_nor_the_token() {
        let actor = |workspace: u128, user: u128, until: i64| Actor {
            user: Some(UserId(Uuid::from_u128(user))),
            workspace: WorkspaceId(Uuid::from_u128(workspace)),
            expires_at: chrono::DateTime::from_timestamp(until, 0),
        };
        assert_eq!(actor(1, 1, 1).visibility(), actor(1, 2, 2).visibility());
        assert_ne!(actor(1, 1, 1).visibility(), actor(2, 1, 1).visibility());
        let nobody = actor(1, 1, 1).visibility().actor();
        assert_eq!((nobody.user, nobody.expires_at, nobody.visibility()), (None, None, actor(1, 1, 1).visibility()));
    }

    #[tokio::test]
    async fn a_newcomer_goes_on_exactly_behind_what_it_was_told_before() {
        let scene = Scene::default();
        let _founder = scene.enter(key(1, 1), 5);
        (6..=8).for_each(|sequence| assert!(scene.publish(sequence)));
        // comes while it is still told of what was before, and a new event comes in between
        let mut behind = scene.enter(key(1, 1), 6);
        assert!(!behind.was_told(7));
        assert!(scene.publish(9));
        assert!(behind.was_told(8));
        assert_eq!(told(&mut behind), Some(vec![9]));
        // was told of it by itself before the group was
        let mut ahead = scene.enter(key(1, 1), 10);
        assert!(ahead.was_told(10));
        (10..=11).for_each(|sequence| assert!(scene.publish(sequence)));
        assert_eq!(told(&mut ahead), Some(vec![11]));
        assert_eq!(ahead.last(), 11);
        ahead.take_back(&frame(11, "{}"));
        assert_eq!(ahead.last(), 10);
        // has left out something: it must not be hidden
        let mut gap = scene.enter(key(1, 1), 10);
        assert!(scene.publish(12));
        assert_eq!(told(&mut gap), None);
    }

    #[tokio::test]
    async fn who_is_slow_falls_out_and_nobody_waits_for_it() {
        let scene = Scene::default();
        let (mut slow, mut quick) = (scene.enter(key(1, 1), 0), scene.enter(key(1, 1), 0));
        let most = i64::try_from(MOST_FRAMES).unwrap();
        for sequence in 1..=most {
            assert!(scene.publish(sequence));
            assert_eq!(told(&mut quick), Some(vec![sequence]));
        }
        let mut late = scene.enter(key(1, 1), most);
        assert!(scene.publish(most + 1));
        assert_eq!((told(&mut slow), slow.last()), (None, 0));
        assert_eq!((told(&mut quick), told(&mut late)), (Some(vec![most + 1]), Some(vec![most + 1])));
        drop(slow);
        let state = lock(&quick.group.state);
        assert_eq!((state.frames.len(), state.bytes, state.members), (0, 0, 2), "nothing waits for who has gone");
        assert!(state.frames.capacity() <= KEPT_ROOM);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_too() {
        let scene = Scene::default();
        let mut member = scene.enter(key(1, 1), 0);
        let long = "x".repeat(MOST_BYTES);
        for sequence in 1..=2 {
            lock(&scene.publishers)[0].publish(frame(sequence, &long));
        }
        assert_eq!(lock(&member.group.state).frames.len(), 1, "the newest is there however long it is");
        assert_eq!(told(&mut member), None);
    }

    #[tokio::test]
    async fn members_are_woken_and_the_work_ends_with_the_last() {
        let groups = Groups::<()>::default();
        let (sender, mut publisher) = tokio::sync::oneshot::channel();
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let mut one = groups.enter(key(1, 1), &Arc::default(), 0, |publisher| {
            drop(sender.send(publisher));
            tokio::spawn(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            })
            .abort_handle()
        });
        let publisher = publisher.try_recv().unwrap();
        let waiting = tokio::spawn(async move { (poll_fn(|context| one.poll_next(context)).await, one) });
        tokio::task::yield_now().await;
        assert!(publisher.publish(frame(1, "{}")));
        let (turn, one) = waiting.await.unwrap();
        assert!(matches!(turn, Turn::Frame(frame) if frame.sequence == 1));
        drop(one);
        assert!(ended.await.is_err(), "the task was aborted");
        assert!(!publisher.publish(frame(2, "{}")));
        assert!(lock(&groups.0).is_empty(), "nothing is left of it");
    }

    #[tokio::test]
    async fn when_the_work_breaks_off_members_fall_out_and_found_another() {
        let scene = Scene::default();
        let mut member = scene.enter(key(1, 1), 0);
        let context = Context::from_waker(noop_waker_ref());
        assert!(member.poll_next(&context).is_pending());
        lock(&scene.publishers).clear();
        assert!(matches!(member.poll_next(&context), Poll::Ready(Turn::FallenOut)));
        let mut again = scene.enter(key(1, 1), member.last());
        drop(member);
        assert!(scene.publish(1));
        assert_eq!(told(&mut again), Some(vec![1]));
        assert_eq!(scene.enter(key(1, 1), 1).was_told(1).then_some(scene.founded()), Some(1), "the second is the one that is known");
        assert!(poll_fn(|context| again.poll_next(context)).now_or_never().is_none());
    }
}
