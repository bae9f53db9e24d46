//! One question for many who ask at about the same time.

use std::future::Future;
use std::sync::Mutex;

use tokio::sync::oneshot;

/// Gathers questions while one is being answered, and answers those with the next one.
///
/// An answer is always to a question that was put after it was asked for, so nobody is told what was true before.
pub(crate) struct Joint<Q, A> {
    waiting: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    asking: tokio::sync::Mutex<()>,
}

impl<Q, A> Default for Joint<Q, A> {
    fn default() -> Joint<Q, A> {
        Joint { waiting: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }
}

impl<Q: Clone, A> Joint<Q, A> {
    /// The answer to `question`; `ask` answers all that are waiting, in their order.
    ///
    /// Cancellation safe: if whoever asks for all is gone, another one asks.
    pub(crate) async fn ask<F>(&self, question: Q, ask: impl Fn(Vec<Q>) -> F) -> A
    where
        F: Future<Output = Vec<A>>,
    {
        loop {
            let (tell, mut told) = oneshot::channel();
            self.waiting.lock().expect("no holder of the lock panics").push((question.clone(), tell));
            tokio::select! {
                biased;
                answer = &mut told => {
                    if let Ok(answer) = answer {
                        return answer;
                    }
                }
                _asking = self.asking.lock() => {
                    let (questions, tell): (Vec<Q>, Vec<_>) =
                        std::mem::take(&mut *self.waiting.lock().expect("no holder of the lock panics"))
                            .into_iter()
                            // Whoever has gone away meanwhile is not asked for.
                            .filter(|(_, tell)| !tell.is_closed())
                            .unzip();
                    if !questions.is_empty() {
                        for (tell, answer) in tell.into_iter().zip(ask(questions).await) {
                            drop(tell.send(answer));
                        }
                    }
                    if let Ok(answer) = told.try_recv() {
                        return answer;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_are_answered_together() {
        let joint = Arc::new(Joint::<usize, usize>::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..100)
            .map(|n| {
                let (joint, asked) = (Arc::clone(&joint), Arc::clone(&asked));
                tokio::spawn(async move {
                    let ask = |questions: Vec<usize>| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        async move {
                            tokio::task::yield_now().await;
                            questions.iter().map(|n| n * 2).collect()
                        }
                    };
                    assert_eq!(joint.ask(n, ask).await, n * 2);
                })
            })
            .collect();
        for one in all {
            one.await.expect("an answer");
        }
        assert!(asked.load(Ordering::Relaxed) < 20, "{asked:?}");
    }

    #[tokio::test]
    async fn who_asks_for_all_may_go_away() {
        let joint = Joint::<usize, usize>::default();
        let never = joint.ask(1, |_| std::future::pending());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), never).await.is_err());
        assert_eq!(joint.ask(2, |all| async move { all }).await, 2);
    }
}
