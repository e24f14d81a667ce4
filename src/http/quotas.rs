//! How many sockets and streams a process holds, and how many of them a person does. Counts are those of this process;
//! what is counted gives its place back when it is dropped. It must not know what flows through them.

use crate::domain::ids::UserId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most of each at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Sockets of this process, signed in or not.
    pub sockets: usize,
    /// Sockets of a person.
    pub sockets_of_person: usize,
    /// Running subscriptions of this process, whatever they run over.
    pub streams: usize,
    /// Running subscriptions of a person, whatever they run over.
    pub streams_of_person: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { sockets: 10_000, sockets_of_person: 50, streams: 50_000, streams_of_person: 200 }
    }
}

/// What is held now.
#[derive(Debug, Default)]
struct Held {
    sockets: usize,
    streams: usize,
    persons: HashMap<UserId, Person>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Person {
    sockets: usize,
    streams: usize,
}

/// Why there is no place for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The person has as many as one may have: this many.
    Person(usize),
    /// The process has as many as it may have.
    Process,
}

/// Hands out places.
#[derive(Debug)]
pub struct Places {
    quotas: Quotas,
    held: Arc<Mutex<Held>>,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    held: Arc<Mutex<Held>>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Socket,
    SocketOf(UserId),
    StreamOf(UserId),
}

impl Places {
    /// Places as the quotas say.
    pub fn new(quotas: Quotas) -> Self {
        Self { quotas, held: Arc::default() }
    }

    /// A place for a socket in this process; none if all are taken.
    pub fn socket(&self) -> Option<Place> {
        self.take(Kind::Socket)
    }

    /// A place for a socket of a person.
    pub fn socket_of(&self, person: UserId) -> Option<Place> {
        self.take(Kind::SocketOf(person))
    }

    /// A place for a running subscription of a person.
    ///
    /// # Errors
    /// If the person or the process has as many as may be.
    pub fn stream_of(&self, person: UserId) -> Result<Place, Full> {
        let most = self.quotas.streams_of_person;
        self.take(Kind::StreamOf(person)).ok_or_else(|| {
            let held = lock(&self.held).persons.get(&person).map_or(0, |person| person.streams);
            if held >= most { Full::Person(most) } else { Full::Process }
        })
    }

    /// What the quotas are.
    pub const fn quotas(&self) -> Quotas {
        self.quotas
    }

    fn take(&self, kind: Kind) -> Option<Place> {
        let mut held = lock(&self.held);
        let of = |person| held.persons.get(&person).copied().unwrap_or_default();
        let is_full = match kind {
            Kind::Socket => held.sockets >= self.quotas.sockets,
            Kind::SocketOf(person) => of(person).sockets >= self.quotas.sockets_of_person,
            Kind::StreamOf(person) => of(person).streams >= self.quotas.streams_of_person || held.streams >= self.quotas.streams,
        };
        if is_full {
            return None;
        }
        match kind {
            Kind::Socket => held.sockets += 1,
            Kind::SocketOf(person) => held.persons.entry(person).or_default().sockets += 1,
            Kind::StreamOf(person) => {
                held.streams += 1;
                held.persons.entry(person).or_default().streams += 1;
            }
        }
        drop(held);
        Some(Place { held: Arc::clone(&self.held), kind })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        let person = match self.kind {
            Kind::Socket => {
                held.sockets = held.sockets.saturating_sub(1);
                return;
            }
            Kind::SocketOf(person) => person,
            Kind::StreamOf(person) => {
                held.streams = held.streams.saturating_sub(1);
                person
            }
        };
        let Some(counts) = held.persons.get_mut(&person) else { return };
        match self.kind {
            Kind::StreamOf(_) => counts.streams = counts.streams.saturating_sub(1),
            _ => counts.sockets = counts.sockets.saturating_sub(1),
        }
        // or the map would grow with everybody who was ever here
        if *counts == Person::default() {
            held.persons.remove(&person);
        }
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const QUOTAS: Quotas = Quotas { sockets: 2, sockets_of_person: 1, streams: 3, streams_of_person: 2 };

    #[test]
    fn places_are_counted_for_each_person_and_come_back() {
        let places = Places::new(QUOTAS);
        let (one, two, three) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)), UserId(Uuid::from_u128(3)));
        let sockets = [places.socket(), places.socket(), places.socket_of(one)];
        assert!(sockets.iter().all(Option::is_some));
        let streams = [places.stream_of(one), places.stream_of(one)];
        assert!(streams.iter().all(Result::is_ok));
        assert!(places.socket().is_none() && places.socket_of(one).is_none() && places.socket_of(two).is_some());
        assert_eq!(places.stream_of(one).unwrap_err(), Full::Person(2));
        let third = places.stream_of(two).unwrap();
        assert_eq!(places.stream_of(three).unwrap_err(), Full::Process);
        assert_eq!(places.stream_of(one).unwrap_err(), Full::Person(2), "what the person can do something about comes first");
        drop(third);
        assert!(places.stream_of(three).is_ok());
        drop((sockets, streams));
        assert!(places.socket().is_some() && places.socket_of(one).is_some() && places.stream_of(one).is_ok());
        let held = lock(&places.held);
        assert!(held.persons.is_empty() && (held.sockets, held.streams) == (0, 0), "nobody is remembered");
    }

    #[test]
    fn a_refused_person_is_not_remembered() {
        let places = Places::new(Quotas { sockets_of_person: 0, ..QUOTAS });
        assert!(places.socket_of(UserId(Uuid::nil())).is_none());
        assert!(lock(&places.held).persons.is_empty());
    }
}
