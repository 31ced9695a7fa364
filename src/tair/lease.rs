//! The publish lease: a token with an expiry that its holder renews while it works.
//!
//! A holder that cannot renew the lease in time must stop writing. The holder measures the time itself, from
//! before each renewal is sent. No operation needs a script or a command over keys in different cluster
//! slots.

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

/// Exclusive right to write into Tair, valid while [`Lease::check`] succeeds.
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
    /// Acquires the lease. Waits for the lease of a holder that no longer renews to expire.
    ///
    /// # Errors
    /// [`TairError::Busy`] if another holder renewed the lease meanwhile, or errors of the server.
    pub(super) async fn acquire(
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

    /// Returns the time after which the lease expires unless it is renewed.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Checks whether a command sent now arrives while the lease is valid: a quarter of its length must be
    /// left.
    ///
    /// # Errors
    /// [`TairError::LeaseLost`].
    pub fn check(&self) -> Result<(), TairError> {
        let ends = *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() + self.length / 4 < ends { Ok(()) } else { Err(TairError::LeaseLost) }
    }

    /// Sets `key`, which must be in the slot of the lease, in a transaction that fails if the lease was lost.
    ///
    /// # Errors
    /// [`TairError::LeaseLost`], or errors of the server, after which the key may or may not be set.
    pub async fn set_if_held(&self, key: &str, value: String) -> Result<(), TairError> {
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

    /// Releases the lease, so that the next publisher need not wait for the expiry.
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

/// Renews the lease five times per length until another holder has it or it has expired.
async fn renew(client: Client, key: String, token: String, length: Duration, ends: Arc<Mutex<Instant>>) {
    let millis = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let warnings = LogThrottle::default();
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
            // Taken over or expired.
            Ok(Ok(false)) => {
                tracing::warn!("lease lost");
                *ends.lock().unwrap_or_else(PoisonError::into_inner) = begun;
                return;
            }
            Ok(Err(error)) => warnings.log(error.details(), |suppressed| {
                tracing::warn!(error = error.details(), suppressed, "lease renewal failed");
            }),
            Err(_) => warnings.log("", |suppressed| tracing::warn!(suppressed, "lease renewal timed out")),
        }
    }
}
