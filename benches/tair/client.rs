//! Larder's own client against a pool of `fred`, without HTTP: one customer by `HMGET`, over each kind of
//! connection.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use fred::{
    clients::Pool,
    prelude::{Builder, ClientLike, HashesInterface, Value},
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    },
    types::{
        MultipleKeys, RespVersion,
        config::{Config, ServerConfig, TcpConfig, TlsConfig},
    },
};
use larder::{
    config::TairConfig,
    feature::{CustomerId, FeatureView},
    tair::{Fields, Keys, Tair, codec},
    workers::Workers,
};

use crate::{redis::Redis, shop::quantile};

const ROUNDS: usize = 3;
const SECONDS: u64 = 2;
/// Number of tasks that read one customer after the other.
const TASKS: usize = 64;

/// Customers to read, and their columns.
pub(crate) struct Rows<'a> {
    pub(crate) ids: &'a [CustomerId],
    pub(crate) views: &'a [FeatureView],
}

/// Prints the rates of both clients for each of the `servers`.
pub(crate) async fn compare(servers: &[(&str, &Redis)], rows: &Rows<'_>) -> anyhow::Result<()> {
    println!(
        "\nOne customer by HMGET without HTTP, Larder's own connections against a pool of fred; \
         {TASKS} tasks on {} threads, {ROUNDS} rounds of {SECONDS} s.\n",
        std::thread::available_parallelism()?
    );
    println!("| server | own connections, rows/s | fred, rows/s | ratio |");
    println!("|---|---:|---:|---:|");
    let workers = Arc::new(Workers::start(std::thread::available_parallelism()?.get())?);
    let ids: Arc<[String]> = rows.ids.iter().map(|id| id.as_str().to_owned()).collect();
    for (name, redis) in servers {
        let config = TairConfig { url: redis.url(), ca_file: redis.ca_file(), ..TairConfig::default() };
        let fields = Arc::new(Fields::new(rows.views));
        let tair = Tair::connect(&config, Some(&workers))?;
        let watched = Arc::clone(&tair);
        let watching = tokio::spawn(async move { watched.watch().await });
        let pool = fred_pool(redis, config.pool).await?;
        let names: Vec<String> =
            rows.views.iter().map(codec::field).chain([codec::PUBLISH.to_owned()]).collect();
        let names = MultipleKeys::from(names);
        let keys = Arc::new(Keys::new(&config.namespace));
        let own = move |id: Arc<[String]>, at: usize| {
            let (tair, fields) = (Arc::clone(&tair), Arc::clone(&fields));
            async move { tair.row(&id[at], &fields).await.is_ok_and(|row| row.is_some()) }
        };
        let fred = move |id: Arc<[String]>, at: usize| {
            let (pool, names, keys) = (pool.clone(), names.clone(), Arc::clone(&keys));
            async move {
                let found = pool.hmget::<Value, _, _>(keys.customer(&id[at]), names).await;
                found.is_ok_and(|found| matches!(found, Value::Array(_)))
            }
        };
        let begun = Instant::now();
        while !own(Arc::clone(&ids), 0).await {
            ensure!(begun.elapsed() < Duration::from_secs(20), "no row of {name} within 20 s");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(rate(&workers, &ids, own.clone()).await?);
            theirs.push(rate(&workers, &ids, fred.clone()).await?);
        }
        watching.abort();
        let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} |",
            quantile(&mut ours, 0.5)?,
            quantile(&mut theirs, 0.5)?,
            quantile(&mut ratios, 0.5)?
        );
    }
    Ok(())
}

/// Returns the calls per second of all tasks together.
async fn rate<C, F>(workers: &Workers, ids: &Arc<[String]>, call: C) -> anyhow::Result<f64>
where
    C: Fn(Arc<[String]>, usize) -> F + Clone + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let begun = Instant::now();
    let tasks = (0..TASKS).map(|number| {
        let (ids, call) = (Arc::clone(ids), call.clone());
        workers.handle(number).spawn(async move {
            let mut calls = 0_u64;
            while begun.elapsed() < Duration::from_secs(SECONDS) {
                let at = (number * 3_571 + usize::try_from(calls).unwrap_or(0)) % ids.len();
                ensure!(call(Arc::clone(&ids), at).await, "a read failed");
                calls += 1;
            }
            Ok(calls)
        })
    });
    let mut calls = 0;
    for task in tasks.collect::<Vec<_>>() {
        calls += task.await??;
    }
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}

async fn fred_pool(redis: &Redis, clients: usize) -> anyhow::Result<Pool> {
    let url = redis.url();
    let host = if redis.ca_file().is_some() { "localhost" } else { "127.0.0.1" };
    let server = if url.starts_with("redis-cluster") {
        ServerConfig::new_clustered(vec![(host, redis.port)])
    } else {
        ServerConfig::new_centralized(host, redis.port)
    };
    let tls = redis.ca_file().map(|file| tls_config(&file)).transpose()?;
    let config = Config { server, version: RespVersion::RESP2, tls, ..Config::default() };
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
    });
    let pool = builder.build_pool(clients)?;
    pool.init().await?;
    Ok(pool)
}

fn tls_config(ca_file: &Path) -> anyhow::Result<TlsConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).context("no certificate")? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}
