//! A provider on the wire that keeps books: who asked for what, how far each answer came, and a trap that tells a test of a
//! moment in the life of a call. It must not judge: what may be asked again is the test's to say.

use super::openai::{closing, finish, opening, text};
use super::{Action, Reply, Request, Step, Stub};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// Words in one piece of an answer.
const PIECE: usize = 6;

/// A moment in the life of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It has come; nothing was answered yet.
    Asked,
    /// A piece of the answer was sent.
    Told,
    /// The whole answer was sent.
    Answered,
}

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Hash of what was asked, as attempts have it.
    pub prompt: String,
    /// Who asked: the key that it came with.
    pub caller: String,
    /// True if the whole answer was sent.
    pub answered: bool,
}

#[derive(Default)]
struct Books {
    calls: Vec<Call>,
    trap: Option<Trap>,
}

/// Springs when a moment has come so many times.
struct Trap {
    moment: Moment,
    left: usize,
    tells: oneshot::Sender<String>,
}

/// The provider.
pub struct Bookkeeper {
    /// The stub that answers.
    pub stub: Stub,
    books: Arc<Mutex<Books>>,
}

impl Bookkeeper {
    /// Starts one that answers everything with this text, piece by piece, with a pause before each.
    pub async fn start(told: &'static str, pause: Duration) -> Self {
        let books = Arc::<Mutex<Books>>::default();
        let shared = Arc::clone(&books);
        let stub = Stub::start(vec![], move |request| answer(&shared, request, told, pause)).await;
        Self { stub, books }
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.books).calls.clone()
    }

    /// Tells who was calling when this moment has come for the n-th time from now on.
    pub fn trap(&self, moment: Moment, n: usize) -> oneshot::Receiver<String> {
        let (tells, told) = oneshot::channel();
        lock(&self.books).trap = Some(Trap { moment, left: n, tells });
        told
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().expect("unpoisoned")
}

/// Hash of the messages of a request, as the product stores it with an attempt.
fn prompt_of(request: &Request) -> String {
    let message = |n: usize| request.body["messages"][n]["content"].as_str().expect("a text").to_owned();
    let hash = Sha256::new().chain_update(message(0)).chain_update([0]).chain_update(message(1)).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(books: &Arc<Mutex<Books>>, request: &Request, told: &str, pause: Duration) -> Reply {
    let caller = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).expect("a key").to_owned();
    let place = {
        let mut books = lock(books);
        books.calls.push(Call { prompt: prompt_of(request), caller: caller.clone(), answered: false });
        books.calls.len() - 1
    };
    pass(books, Moment::Asked, &caller);
    let moment = |moment: Moment| {
        let (books, caller) = (Arc::clone(books), caller.clone());
        Step::Do(Action(Arc::new(move || {
            if moment == Moment::Answered {
                lock(&books).calls[place].answered = true;
            }
            pass(&books, moment, &caller);
        })))
    };
    let words: Vec<&str> = told.split_inclusive(' ').collect();
    let pieces = words.chunks(PIECE).flat_map(|piece| [Step::Pause(pause), text(&piece.concat()), moment(Moment::Told)]);
    [opening(), pieces.collect(), vec![finish("stop")], closing(), vec![moment(Moment::Answered)]].concat()
}

/// A moment has come: the trap may spring.
fn pass(books: &Mutex<Books>, moment: Moment, caller: &str) {
    let mut books = lock(books);
    let Some(trap) = books.trap.as_mut().filter(|trap| trap.moment == moment) else { return };
    trap.left -= 1;
    if trap.left == 0
        && let Some(trap) = books.trap.take()
    {
        // who has armed it anew meanwhile does not listen any more
        drop(trap.tells.send(caller.to_owned()));
    }
}
