//! One throwaway cluster, and databases on it that are copied from templates, so that each arm has a fresh one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use replat_testkit::Server;
use tokio_postgres::Client;

use crate::Failure;
use crate::partman::Partman;
use crate::shape::Shape;

/// What the cluster is started with, beside the usual: as the figures that replat was designed by.
pub const SETTINGS: &[(&str, &str)] = &[
    ("synchronous_commit", "off"),
    ("shared_buffers", "512MB"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("autovacuum", "on"),
    // A hundred tables with all their partitions are locked by the one who drops them.
    ("max_locks_per_transaction", "512"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "1h"),
    // Which partitions were attached by one commit is told by it.
    ("track_commit_timestamp", "on"),
];

/// Whether a database has pg_partman in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Managed {
    /// The tables are pg_partman's.
    ByPartman,
    /// The same tables; the extension was removed.
    ByNobody,
}

/// The cluster.
pub struct Place {
    /// It.
    pub server: Server,
    /// The extension that it has.
    pub partman: Partman,
    admin: Client,
    /// Names of template databases, with the day whose partitions they have.
    templates: BTreeMap<(&'static str, Managed), (String, String)>,
    made: u32,
}

/// A database of one arm's own.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its connection string.
    pub url: String,
}

impl Place {
    /// Starts the cluster.
    ///
    /// # Errors
    ///
    /// [`crate::partman::NoPartman`] if the extension is not there; else what the server says.
    pub async fn start() -> Result<Place, Failure> {
        let builder = Server::builder().durable();
        let builder = SETTINGS.iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
        let server = builder.start().await?;
        let admin = server.client("postgres").await?;
        let partman = Partman::find(&admin, server.version().major).await?;
        Ok(Place { server, partman, admin, templates: BTreeMap::new(), made: 0 })
    }

    /// A database with tables of that shape, made anew.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn database(&mut self, shape: &Shape, managed: Managed) -> Result<Database, Failure> {
        let template = self.template(shape, managed).await?;
        self.made += 1;
        let name = format!("{}_{}", shape.name, self.made);
        self.copy(&template, &name).await?;
        // The copy must not be written back in the middle of what is measured.
        self.admin.batch_execute("checkpoint").await?;
        Ok(Database { url: self.server.url(&name), name })
    }

    /// Removes a database with whatever is in it.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn remove(&self, database: Database) -> Result<(), Failure> {
        Ok(self.admin.batch_execute(&format!("drop database {} with (force)", database.name)).await?)
    }

    /// The server's process.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn postmaster(&self) -> Result<u32, Failure> {
        let path = self.server.folder().join("data/postmaster.pid");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Ok(text.lines().next().unwrap_or("").trim().parse()?)
    }

    /// A folder for the program under test that vanishes with the cluster.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        let folder = self.server.folder().join("replat");
        fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        Ok(folder)
    }

    async fn copy(&self, template: &str, name: &str) -> Result<(), Failure> {
        let strategy = if self.server.version().major >= 15 { " strategy file_copy" } else { "" };
        let copy = format!("create database {name} template {template}{strategy}");
        Ok(self.admin.batch_execute(&copy).await?)
    }

    async fn template(&mut self, shape: &Shape, managed: Managed) -> Result<String, Failure> {
        let today: String = self.admin.query_one("select current_date::text", &[]).await?.try_get(0)?;
        if let Some((name, day)) = self.templates.get(&(shape.name, managed))
            && *day == today
        {
            return Ok(name.clone());
        }
        let stem = format!("template_{}_{}", shape.name, today.replace('-', ""));
        let (with, without) = (format!("{stem}_partman"), format!("{stem}_bare"));
        self.admin.batch_execute(&format!("create database {with}")).await?;
        let client = self.server.client(&with).await?;
        client.batch_execute(&self.partman.install()).await?;
        shape.make(&client, &self.partman).await?;
        // The server waits for sessions that are on their way out before it copies.
        drop(client);
        self.copy(&with, &without).await?;
        let client = self.server.client(&without).await?;
        client.batch_execute(&self.partman.remove()).await?;
        drop(client);
        self.templates.insert((shape.name, Managed::ByPartman), (with.clone(), today.clone()));
        self.templates.insert((shape.name, Managed::ByNobody), (without.clone(), today));
        Ok(if managed == Managed::ByPartman { with } else { without })
    }
}
