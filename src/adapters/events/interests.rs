//! Which topics somebody in this process listens to, counted, and how far the server knows: what is to be subscribed and
//! unsubscribed, and who is to be told that bells were missed. It must not talk to the server.

use super::Topic;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Topics that change their state on the server with one command.
const AT_ONCE: usize = 500;

/// The interests of one process.
#[derive(Debug, Default)]
pub(super) struct Interests {
    state: Mutex<State>,
    /// There is something to take.
    pub changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    wants: HashMap<Topic, Want>,
    /// Topics whose state on the server may be wrong.
    dirty: HashSet<Topic>,
    /// The connection was lost and is not back.
    lost: bool,
}

#[derive(Debug)]
struct Want {
    listeners: usize,
    /// True once the server sends what is published.
    confirmed: watch::Sender<bool>,
    /// Somebody listens who may have missed something before the server's confirmation.
    late: bool,
}

/// What the server is to be told.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub subscribe: Vec<Topic>,
    pub unsubscribe: Vec<Topic>,
    /// Wanted again before the server was told otherwise.
    pub kept: Vec<Topic>,
}

/// That somebody listens, until it is dropped.
#[derive(Debug)]
pub(super) struct Interest {
    topic: Topic,
    interests: Arc<Interests>,
    confirmed: watch::Receiver<bool>,
}

impl Interests {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a listener.
    pub(super) fn add(self: &Arc<Self>, topic: Topic) -> Interest {
        let mut state = self.state();
        let State { wants, dirty, lost } = &mut *state;
        let want = wants.entry(topic).or_insert_with(|| {
            dirty.insert(topic);
            self.changed.notify_one();
            Want { listeners: 0, confirmed: watch::Sender::new(false), late: *lost }
        });
        want.listeners += 1;
        Interest { topic, interests: Arc::clone(self), confirmed: want.confirmed.subscribe() }
    }

    /// A new connection knows nothing.
    pub(super) fn begin_anew(&self) {
        let mut state = self.state();
        let State { wants, dirty, lost } = &mut *state;
        *lost = false;
        dirty.extend(wants.keys().copied());
        self.changed.notify_one();
    }

    /// The connection is lost: everybody may miss something until the server confirms anew.
    pub(super) fn lose(&self) {
        let mut state = self.state();
        state.lost = true;
        for want in state.wants.values_mut() {
            want.confirmed.send_replace(false);
            want.late = true;
        }
    }

    /// Some of what the server is to be told, given what it knows.
    pub(super) fn take(&self, knows: impl Fn(Topic) -> bool) -> Changes {
        let mut state = self.state();
        let topics: Vec<Topic> = state.dirty.iter().take(AT_ONCE).copied().collect();
        let mut changes = Changes::default();
        for topic in topics {
            state.dirty.remove(&topic);
            match (state.wants.contains_key(&topic), knows(topic)) {
                (true, false) => changes.subscribe.push(topic),
                (false, true) => changes.unsubscribe.push(topic),
                (true, true) => changes.kept.push(topic),
                (false, false) => {}
            }
        }
        changes
    }

    /// The server sends what is published on these. Returns those of which something may have been missed.
    pub(super) fn confirm(&self, topics: &[Topic]) -> Vec<Topic> {
        let mut state = self.state();
        let mut missed = Vec::new();
        for topic in topics {
            if let Some(want) = state.wants.get_mut(topic) {
                want.confirmed.send_replace(true);
                if std::mem::take(&mut want.late) {
                    missed.push(*topic);
                }
            }
        }
        missed
    }
}

impl Changes {
    pub(super) const fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.unsubscribe.is_empty() && self.kept.is_empty()
    }
}

impl Interest {
    /// Waits for the server's confirmation; not at all while the connection is lost.
    pub(super) async fn confirmed(&mut self) {
        if self.interests.state().lost {
            return;
        }
        // the sender lives as long as the interest
        let _ = self.confirmed.wait_for(|confirmed| *confirmed).await;
    }

    /// The listener goes on without the confirmation: when it comes, it is told that it may have missed something.
    pub(super) fn go_on(&self) {
        if let Some(want) = self.interests.state().wants.get_mut(&self.topic) {
            want.late |= !*want.confirmed.borrow();
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut state = self.interests.state();
        let Entry::Occupied(mut want) = state.wants.entry(self.topic) else { return };
        want.get_mut().listeners -= 1;
        if want.get().listeners == 0 {
            want.remove();
            state.dirty.insert(self.topic);
            self.interests.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Topic = Topic::Cancellations;

    #[test]
    fn the_server_is_told_of_the_first_listener_and_of_the_last() {
        let interests = Arc::new(Interests::default());
        let (one, two) = (interests.add(TOPIC), interests.add(TOPIC));
        assert_eq!(interests.take(|_| false).subscribe, [TOPIC]);
        assert!(interests.confirm(&[TOPIC]).is_empty());
        drop(one);
        assert!(interests.take(|_| true).is_empty());
        drop(two);
        assert_eq!(interests.take(|_| true).unsubscribe, [TOPIC]);
        assert!(interests.state().wants.is_empty() && interests.state().dirty.is_empty());
    }

    #[tokio::test]
    async fn who_leaves_and_comes_back_at_once_is_confirmed_without_a_word_to_the_server() {
        let interests = Arc::new(Interests::default());
        drop(interests.add(TOPIC));
        let mut again = interests.add(TOPIC);
        assert_eq!(interests.take(|_| true).kept, [TOPIC]);
        assert!(interests.confirm(&[TOPIC]).is_empty());
        again.confirmed().await;
    }

    #[tokio::test]
    async fn who_listened_before_the_confirmation_is_told_that_something_may_be_missing() {
        let interests = Arc::new(Interests::default());
        let one = interests.add(TOPIC);
        one.go_on();
        assert_eq!(interests.confirm(&[TOPIC]), [TOPIC]);
        one.go_on();
        assert!(interests.confirm(&[TOPIC]).is_empty(), "nobody went on without it since");

        interests.lose();
        interests.add(TOPIC).confirmed().await;
        interests.begin_anew();
        assert_eq!(interests.take(|_| false).subscribe, [TOPIC]);
        assert_eq!(interests.confirm(&[TOPIC]), [TOPIC], "the connection was lost in between");
    }
}
