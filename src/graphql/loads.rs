//! Runs the loads of an operation in the operation's own task, and only once every resolver that can go on has gone on.
//! So what the resolvers of a level ask for is one statement on every runtime, however long it takes to ask; a timer on
//! another thread, as loaders use by default, cuts a level into several. It must not know what is loaded.

use async_graphql::runtime::Timer;
use futures::future::{BoxFuture, FutureExt, ready};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::{FutureObj, Spawn, SpawnError};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

type Load = FutureObj<'static, ()>;

/// The loads of one operation. Clones share them; they run while [`Loads::drive`] is polled, and at no other time.
#[derive(Debug, Clone, Default)]
pub struct Loads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked_for: Mutex<Vec<Load>>,
    running: Mutex<FuturesUnordered<Load>>,
}

impl Loads {
    /// Runs an operation together with the loads that its resolvers ask for.
    pub async fn drive<F: Future>(&self, operation: F) -> F::Output {
        let mut operation = pin!(operation);
        poll_fn(|context| {
            loop {
                if let Poll::Ready(output) = operation.as_mut().poll(context) {
                    return Poll::Ready(output);
                }
                if !self.go_on(context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Lets loads go on as far as they can; true if one has ended, so that a resolver can go on.
    fn go_on(&self, context: &mut Context<'_>) -> bool {
        let mut running = lock(&self.0.running);
        let mut has_ended = false;
        loop {
            let asked_for = std::mem::take(&mut *lock(&self.0.asked_for));
            let is_done = asked_for.is_empty();
            running.extend(asked_for);
            while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {
                has_ended = true;
            }
            if is_done {
                return has_ended;
            }
        }
    }
}

impl Spawn for Loads {
    fn spawn_obj(&self, load: Load) -> Result<(), SpawnError> {
        lock(&self.0.asked_for).push(load);
        Ok(())
    }
}

/// No waiting: when a load is first polled, everything of its level has been asked for. A type of its own, because loads
/// keep their timer: if they kept the loads, what is given up on the way would never let its connection go.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtOnce;

impl Timer for AtOnce {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::dataloader::{DataLoader, Loader};
    use futures::future::join_all;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Doubler(Arc<AtomicUsize>);

    impl Loader<u32> for Doubler {
        type Value = u32;
        type Error = ();

        async fn load(&self, keys: &[u32]) -> Result<HashMap<u32, u32>, ()> {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(keys.iter().map(|key| (*key, key * 2)).collect())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_level_is_one_load_however_many_ask_and_however_long_it_takes() {
        let (loads, calls) = (Loads::default(), Arc::<AtomicUsize>::default());
        let loader = DataLoader::new(Doubler(Arc::clone(&calls)), loads.clone(), AtOnce).max_batch_size(usize::MAX);
        let resolve = async |n: u32| {
            // longer than the loader's own delay, all together
            (0..2_000).for_each(|n| drop(std::hint::black_box(n.to_string())));
            let once = loader.load_one(n).await.unwrap().unwrap();
            loader.load_one(once).await.unwrap().unwrap()
        };
        let found = loads.drive(join_all((0..1_500).map(resolve))).await;
        assert_eq!(found, (0..1_500).map(|n| n * 4).collect::<Vec<_>>());
        assert_eq!(calls.load(Ordering::SeqCst), 2, "one load for each level");
    }

    #[tokio::test]
    async fn an_operation_that_is_given_up_lets_go_of_what_its_loads_hold() {
        struct Stuck(Arc<()>);

        impl Loader<u32> for Stuck {
            type Value = u32;
            type Error = ();

            async fn load(&self, _: &[u32]) -> Result<HashMap<u32, u32>, ()> {
                let held = Arc::clone(&self.0);
                std::future::pending::<()>().await;
                drop(held);
                Err(())
            }
        }

        let connection = Arc::new(());
        let loads = Loads::default();
        let loader = DataLoader::new(Stuck(Arc::clone(&connection)), loads.clone(), AtOnce);
        let mut operation = Box::pin(loads.drive(loader.load_one(1)));
        assert!(futures::poll!(&mut operation).is_pending());
        assert_eq!(Arc::strong_count(&connection), 3, "the loader and its load have it");
        drop(operation);
        drop((loader, loads));
        assert_eq!(Arc::strong_count(&connection), 1);
    }
}
