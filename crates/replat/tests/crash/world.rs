//! Two servers, and for each story a pair of databases and a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use replat_testkit::Server;
use replat_testkit::routes::{Homes, TenantHome};
use replat_testkit::rows::Version;
use replat_testkit::saas::{self, Fill};

use crate::Failure;
use crate::program::Program;

/// The tenant that is moved; it is the largest.
pub const TENANT: i64 = 1;
/// Tenants in the database.
pub const TENANTS: u32 = 6;
/// Rows over all of them.
const ROWS: u64 = 2_000;
/// A filled database, from which each story's is copied.
const TEMPLATE: &str = "filled";

/// Blue's and green's server.
pub struct Servers {
    blue: Server,
    green: Server,
}

impl Servers {
    /// Starts both and fills the database that stories begin with.
    pub async fn start() -> Result<Servers, Failure> {
        let server =
            || Server::builder().setting("max_replication_slots", "60").setting("max_wal_senders", "60");
        let (blue, green) = tokio::try_join!(server().blue().start(), server().green().start())?;
        blue.create_database(TEMPLATE).await?;
        let client = blue.client(TEMPLATE).await?;
        saas::create_v1(&client).await?;
        saas::fill_v1(&client, Fill { tenants: TENANTS, rows: ROWS, seed: 1 }).await?;
        Ok(Servers { blue, green })
    }

    /// A world for one story. `policy` are lines of the spec's `[policy]`.
    pub async fn world(&self, name: &str, policy: &str) -> Result<World, Failure> {
        self.blue
            .execute(
                "postgres",
                &format!("create database \"{name}\" template {TEMPLATE} strategy file_copy"),
            )
            .await?;
        self.green.create_database(name).await?;
        let folder = Folder::create(&format!("replat-crash-{}-{name}", self.blue.port()))?;
        for file in ["schema_v1.sql", "schema_v2.sql"] {
            fs::copy(saas::example_directory().join(file), folder.0.join(file))?;
        }
        let spec = fs::read_to_string(saas::example_directory().join("replat.toml"))?;
        let (before, _) = spec.split_once("[policy]").ok_or("the example has a policy")?;
        let registry = "[registry]\nurl = \"file:.replat/registry.db\"";
        fs::write(folder.0.join("contract.sql"), "select tenant_id from tenants where tenant_id = $1")?;
        let contract = "[contexts.saas.contracts.\"ledger/tenants\"]\nquery = \"contract.sql\"\n\
                        parameters = [\"$tenant_id\"]\n";
        let spec = format!("{before}{contract}[policy]\nchunk_rows = 100\n{policy}\n{registry}\n");
        fs::write(folder.0.join("replat.toml"), spec)?;
        let program = Program {
            folder: folder.0.clone(),
            blue_url: self.blue.url(name),
            green_url: self.green.url(name),
        };
        Ok(World { program, _folder: folder })
    }

    /// A world whose green is a schema of blue's own database, and whose new version can be had by views.
    pub async fn beside(&self, name: &str, spec: &str, tables: &str, ddl: &str) -> Result<World, Failure> {
        self.blue.create_database(name).await?;
        self.blue.execute(name, tables).await?;
        let folder = Folder::create(&format!("replat-crash-{}-{name}", self.blue.port()))?;
        fs::write(folder.0.join("replat.toml"), spec)?;
        fs::write(folder.0.join("v2.sql"), ddl)?;
        let url = self.blue.url(name);
        let program = Program { folder: folder.0.clone(), blue_url: url.clone(), green_url: url };
        Ok(World { program, _folder: folder })
    }
}

/// What one story happens in.
pub struct World {
    /// The program under test, in a folder of its own.
    pub program: Program,
    _folder: Folder,
}

impl World {
    /// Blue as the home of an epoch.
    pub fn blue_home(&self, epoch: u64) -> TenantHome {
        let url = self.program.blue_url.clone();
        TenantHome { epoch, url, schema: "public".into(), version: Version::V1 }
    }

    /// Green as the home of an epoch.
    pub fn green_home(&self, epoch: u64) -> TenantHome {
        let url = self.program.green_url.clone();
        TenantHome { epoch, url, schema: "saas".into(), version: Version::V2 }
    }

    /// Where everybody is before the first switch.
    pub fn first_homes(&self) -> Homes {
        Homes { usual: self.blue_home(1), moved: BTreeMap::new() }
    }
}

/// A folder for the spec and the program's own state; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create(name: &str) -> Result<Folder, Failure> {
        let path = std::env::temp_dir().join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        drop(fs::remove_dir_all(&self.0));
    }
}
