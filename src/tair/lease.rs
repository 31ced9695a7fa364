//! The right to write: a token with an expiry, renewed while its holder works.
//!
//! Whoever could not renew it in time must stop writing; a clock of the holder's own, started before each renewal was sent, says
//! when. Nothing here needs a script or a command over two keys that lie in different slots.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fred::{
    prelude::{Client, ClientLike, Expiration, KeysInterface, SetOptions, Value},
    types::{ClusterHash, CustomCommand},
};
use tokio::{task::JoinHandle, time::Instant};

use super::{Keys, Losses, TairError};
use crate::telemetry::LogThrottle;

/// The right to write, for as long as [`Lease::check`] says so.
#[derive(Debug)]
pub struct Lease {
    client: Client,
    losses: Losses,
    key: String,
    token: String,
    length: Duration,
    ends: Arc<Mutex<Instant>>,
    renewing: JoinHandle<()>,
}

impl Lease {
    /// Takes the lease, after that of a holder who does not renew it any more has run out.
    pub(super) async fn take(
        client: Client,
        losses: Losses,
        keys: &Keys,
        token: String,
        length: Duration,
    ) -> Result<Self, TairError> {
        let key = keys.lease();
        let millis = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        let mut left_before = i64::MAX;
        let begun = loop {
            let begun = Instant::now();
            let expiry = Some(Expiration::PX(millis));
            let set: Value = client.set(&key, token.as_str(), expiry, Some(SetOptions::NX), false).await?;
            if !set.is_null() {
                break begun;
            }
            let left: i64 = client.pttl(&key).await?;
            if left > left_before {
                return Err(TairError::Busy);
            }
            left_before = left;
            tokio::time::sleep(length / 10).await;
        };
        let ends = Arc::new(Mutex::new(begun + length));
        let renewing =
            tokio::spawn(renew(client.clone(), key.clone(), token.clone(), length, Arc::clone(&ends)));
        Ok(Self { client, losses, key, token, length, ends, renewing })
    }

    /// How long the right lasts without being renewed.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Whether what is sent now still arrives under the lease: a quarter of it must be left.
    ///
    /// # Errors
    /// [`TairError::LeaseLost`].
    pub fn check(&self) -> Result<(), TairError> {
        let ends = *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() + self.length / 4 < ends { Ok(()) } else { Err(TairError::LeaseLost) }
    }

    /// Sets `key`, which lies in the slot of the lease, if the lease is still ours, and not otherwise.
    ///
    /// # Errors
    /// [`TairError::LeaseLost`], or of the server; then it is not known whether it was set.
    pub async fn set(&self, key: &str, value: String) -> Result<(), TairError> {
        self.check()?;
        let losses = self.losses.count();
        let slot = ClusterHash::Custom(fred::util::redis_keyslot(self.key.as_bytes()));
        let command = |name: &'static str| CustomCommand::new_static(name, slot.clone(), false);
        let send =
            |name: &'static str, args: Vec<String>| self.client.custom::<Value, String>(command(name), args);
        send("WATCH", vec![self.key.clone()]).await?;
        let holder: Option<String> = self.client.get(&self.key).await?;
        if holder.as_deref() != Some(self.token.as_str()) || self.losses.count() != losses {
            send("UNWATCH", Vec::new()).await?;
            return Err(TairError::LeaseLost);
        }
        send("MULTI", Vec::new()).await?;
        send("SET", vec![key.to_owned(), value]).await?;
        let done = send("EXEC", Vec::new()).await?;
        if done.is_null() { Err(TairError::LeaseLost) } else { Ok(()) }
    }

    /// Gives the lease back.
    pub async fn release(self) {
        self.renewing.abort();
        if self.check().is_ok() {
            let held: Result<Option<String>, _> = self.client.get(&self.key).await;
            if held.is_ok_and(|held| held.as_deref() == Some(self.token.as_str())) {
                let _: Result<(), _> = self.client.unlink(&self.key).await;
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

async fn renew(client: Client, key: String, token: String, length: Duration, ends: Arc<Mutex<Instant>>) {
    let millis = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let told = LogThrottle::default();
    loop {
        tokio::time::sleep(length / 5).await;
        let begun = Instant::now();
        let renewed = async {
            let held: Option<String> = client.get(&key).await?;
            if held.as_deref() != Some(token.as_str()) {
                return Ok(false);
            }
            client.pexpire::<bool, _>(&key, millis, None).await
        };
        match tokio::time::timeout(length / 4, renewed).await {
            Ok(Ok(true)) => *ends.lock().unwrap_or_else(PoisonError::into_inner) = begun + length,
            // Taken over, or run out: it does not come back.
            Ok(Ok(false)) => {
                *ends.lock().unwrap_or_else(PoisonError::into_inner) = begun;
                return;
            }
            Ok(Err(error)) => told.log(error.details(), |suppressed| {
                tracing::warn!(error = error.details(), suppressed, "the lease could not be renewed");
            }),
            Err(_) => told
                .log("", |suppressed| tracing::warn!(suppressed, "the lease could not be renewed in time")),
        }
    }
}
