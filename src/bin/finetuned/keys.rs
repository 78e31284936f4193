//! `finetuned keys`: makes, lists and revokes keys in the database of a data directory.

use std::path::Path;

use anyhow::Context;
use finetuned::{
    config::keys::{CreateKey, KeysCommand},
    data_dir::with_database,
    domain::{
        access::{AuditRecord, Key, KeyState, Quotas, Secret},
        name::Name,
        page::{Order, PageRequest},
        time::Timestamp,
    },
    error::Error,
    limits::Limits,
    store::Store,
};

pub async fn run(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create(create) => create_key(&create).await,
        KeysCommand::List { data, json } => list(&data.data_dir, json).await,
        KeysCommand::Revoke { key, data } => revoke(&data.data_dir, &key).await,
    }
}

async fn create_key(create: &CreateKey) -> anyhow::Result<()> {
    let new = create.checked(Timestamp::now()).map_err(|faults| {
        let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
        anyhow::anyhow!("{}", faults.join("; "))
    })?;
    let secret = Secret::draw().context("the system has no random numbers")?;
    let digest = secret.digest();
    let made = with_database(&create.data.data_dir, true, async |store| {
        let most = Limits::DEFAULT.max_keys;
        let made = store.create_key(new, digest, most).await.map_err(told)?;
        note(store, "keys create", &made).await;
        Ok(made)
    });
    let made = made.await?;
    eprintln!(
        "{}  {}: it cannot be shown again; a client sends it as `Authorization: Bearer …`, the commands read it from FINETUNED_KEY",
        made.id, made.name
    );
    // Alone on standard output, so that a script can keep it.
    println!("{}", secret.reveal());
    Ok(())
}

async fn list(path: &Path, json: bool) -> anyhow::Result<()> {
    for key in with_database(path, false, all).await? {
        match json {
            true => println!("{}", serde_json::to_string(&key)?),
            false => println!("{}", line(&key)),
        }
    }
    Ok(())
}

/// Newest first.
async fn all(store: &Store) -> anyhow::Result<Vec<Key>> {
    let mut keys = Vec::<Key>::new();
    loop {
        let page = PageRequest {
            limit: PageRequest::MAX_LIMIT,
            after: keys.last().map(|key| key.id.to_string()),
            order: Order::Desc,
        };
        let page = store.keys(&page).await.map_err(told)?;
        keys.extend(page.data);
        if !page.has_more {
            return Ok(keys);
        }
    }
}

fn line(key: &Key) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let time = |time: Option<Timestamp>| time.map_or("never".to_owned(), Timestamp::to_rfc3339);
    let state = match key.state(Timestamp::now()) {
        KeyState::Good => format!("good, expires {}", time(key.expires_at)),
        KeyState::Expired => format!("expired {}", time(key.expires_at)),
        KeyState::Revoked => format!("revoked {}", time(key.revoked_at)),
    };
    let only = |what: &str, names: &Option<Vec<_>>| match names {
        Some(names) => format!("  only {what}: {}", joined(names)),
        None => String::new(),
    };
    format!(
        "{}  {}  {}  {state}, last used {}{}{}{}",
        key.id,
        key.name,
        scopes.join(","),
        time(key.last_used_at),
        only("datasets", &key.datasets),
        only("models", &key.models),
        quotas(&key.quotas)
    )
}

fn quotas(quotas: &Quotas) -> String {
    let each = [
        ("bytes", quotas.max_bytes),
        ("queued jobs", quotas.max_queued_jobs.map(u64::from)),
        ("running jobs", quotas.max_running_jobs.map(u64::from)),
        ("requests a second", quotas.max_requests_per_second.map(u64::from)),
    ];
    let told = each
        .iter()
        .filter_map(|(of, most)| Some(format!("  at most {} {of}", (*most)?)));
    told.collect()
}

fn joined(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(",")
}

async fn revoke(path: &Path, key: &str) -> anyhow::Result<()> {
    let revoked = with_database(path, false, async |store| {
        let revoked = store.revoke_key(key, None).await.map_err(told)?;
        note(store, "keys revoke", &revoked).await;
        Ok(revoked)
    })
    .await?;
    println!("{}  {}: revoked", revoked.id, revoked.name);
    Ok(())
}

/// In the audit log. The key is made or revoked already, so a failure is told and no more.
async fn note(store: &Store, command: &str, key: &Key) {
    let record = AuditRecord::command(command, key.id);
    if let Err(error) = store.add_audit([record].into()).await {
        eprintln!("finetuned: it is not in the audit log: {:#}", told(error));
    }
}

/// What a refusal says to a person.
fn told(error: Error) -> anyhow::Error {
    let detail = error.detail().to_owned();
    match error.context() {
        Some(context) => anyhow::anyhow!("{detail} ({context:#})"),
        None => anyhow::anyhow!(detail),
    }
}
