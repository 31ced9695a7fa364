//! Large answers that a worker thread has begun and not sent yet.
//!
//! `benches/overload` shows that many of them cost throughput: the more there are, the less of each is still
//! in the processor's caches when it is sent. So a thread begins the next long request when few are left.
//! Answers that clients take long to read do not count, so that such clients keep no others waiting.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Number of unsent answers with which a thread waits before it begins another one.
const MOST: usize = 3;
/// Time after which an answer no longer counts.
const PATIENCE: Duration = Duration::from_millis(20);

/// The unsent answers of a thread.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Starts of the answers, oldest first.
    answers: Mutex<VecDeque<(Instant, Weak<UnsentAnswer>)>>,
    sent: Arc<Notify>,
}

/// An answer that counts until dropped.
#[derive(Debug)]
pub(super) struct UnsentAnswer(Arc<Notify>);

impl Drop for UnsentAnswer {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Unsent {
    /// Counts another answer until the returned value is dropped.
    pub(super) fn begin(&self) -> Arc<UnsentAnswer> {
        let answer = Arc::new(UnsentAnswer(Arc::clone(&self.sent)));
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back((Instant::now(), Arc::downgrade(&answer)));
        answer
    }

    /// Waits until few answers are unsent.
    pub(super) async fn room(&self) {
        while let Some(oldest) = self.oldest_of_many() {
            tokio::select! {
                () = self.sent.notified() => {}
                () = tokio::time::sleep_until((oldest + PATIENCE).into()) => {}
            }
        }
    }

    /// Returns the start of the oldest answer that counts; `None` if few count.
    fn oldest_of_many(&self) -> Option<Instant> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() < MOST {
            return None;
        }
        answers.retain(|(begun, answer)| answer.strong_count() > 0 && begun.elapsed() < PATIENCE);
        if answers.len() < MOST { None } else { answers.front().map(|(begun, _)| *begun) }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn next_answer_waits_for_one_of_many_to_be_sent() {
        let unsent = Unsent::default();
        let mut answers: Vec<_> = (1..MOST).map(|_| unsent.begin()).collect();
        assert!(unsent.room().now_or_never().is_some());
        answers.push(unsent.begin());
        assert!(unsent.room().now_or_never().is_none());
        drop(answers.pop());
        assert!(unsent.room().now_or_never().is_some());
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_keep_no_others_waiting() {
        let unsent = Unsent::default();
        let _answers: Vec<_> = (0..MOST + 2).map(|_| unsent.begin()).collect();
        let begun = Instant::now();
        unsent.room().await;
        assert!(begun.elapsed() >= PATIENCE / 2, "{:?}", begun.elapsed());
        assert!(unsent.room().now_or_never().is_some());
    }
}
