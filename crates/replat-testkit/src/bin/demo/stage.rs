//! Everything that the story needs: servers, a filled database, a spec.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use replat_testkit::Server;
use replat_testkit::report::Phase;
use replat_testkit::routes::{Homes, TenantHome};
use replat_testkit::rows::Version;
use replat_testkit::saas::{self, Fill};

use crate::program::Program;
use crate::{Arguments, Failure};

/// What the demo adds to the example: a place where the proxy and the deployment meet.
const REGISTRY: &str = "\n[registry]\nurl = \"file:.replat/registry.db\"\n";

/// Where the example's policy begins.
const POLICY: &str = "[policy]\n";
/// What the demo adds to it: on a machine that builds something else meanwhile, a transaction that has begun may need
/// more than the usual 50 ms to end. The hold ends as soon as all have.
const PATIENCE: &str = "hold_max = \"1s\"\n";

/// The stage, set.
pub struct Stage {
    /// The server with the v1 database.
    pub blue: Server,
    /// The server with an empty database.
    pub green: Server,
    /// The program under test.
    pub program: Program,
    /// How long the setting took.
    pub phases: Vec<Phase>,
    folder: Folder,
}

impl Stage {
    /// Starts the servers, fills blue, and copies the example's spec into a folder of its own.
    pub async fn set(arguments: &Arguments) -> Result<Stage, Failure> {
        let path = program_path(arguments)?;
        let begun = Instant::now();
        eprintln!("== two PostgreSQL servers");
        let (blue, green) = tokio::try_join!(Server::start(), Server::start())?;
        green.create_database("green").await?;
        let servers = Phase { name: "start two servers".into(), ms: elapsed_ms(begun) };
        let begun = Instant::now();
        eprintln!("== about {} rows in {} tenants", arguments.rows, arguments.tenants);
        fill(&blue, arguments).await?;
        let filled = Phase { name: "fill blue".into(), ms: elapsed_ms(begun) };
        let folder = Folder::create(blue.folder())?;
        for file in ["replat.toml", "schema_v1.sql", "schema_v2.sql"] {
            fs::copy(saas::example_directory().join(file), folder.0.join(file))?;
        }
        let spec = folder.0.join("replat.toml");
        let text = fs::read_to_string(&spec)?;
        fs::write(&spec, text.replace(POLICY, &format!("{POLICY}{PATIENCE}")) + REGISTRY)?;
        let log = arguments.out.as_ref().unwrap_or(&folder.0).join("replat.log");
        let program = Program {
            path,
            folder: folder.0.clone(),
            blue_url: blue.url("blue"),
            green_url: green.url("green"),
            log,
        };
        Ok(Stage { blue, green, program, phases: vec![servers, filled], folder })
    }

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

    /// Leaves everything as it is and says how to get at it.
    pub fn keep(self) -> Result<(), Failure> {
        let Stage { blue, green, program, folder, .. } = self;
        eprintln!("\nThe servers stay. To look around:");
        eprintln!("  psql {}\n  psql {}", program.blue_url, program.green_url);
        eprintln!("  cd {}", folder.0.display());
        eprintln!("  export BLUE_URL={} GREEN_URL={}", program.blue_url, program.green_url);
        eprintln!("  {} deploy list", program.path.display());
        let folders = [blue.folder().to_owned(), green.folder().to_owned(), folder.keep()];
        let pids: Vec<String> =
            [blue.keep()?, green.keep()?].into_iter().flatten().map(|pid| pid.to_string()).collect();
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        eprintln!("To end it:\n  kill -INT {}; sleep 2; rm -rf {}\n", pids.join(" "), folders.join(" "));
        Ok(())
    }
}

async fn fill(blue: &Server, arguments: &Arguments) -> Result<(), Failure> {
    blue.create_database("blue").await?;
    let client = blue.client("blue").await?;
    saas::create_v1(&client).await?;
    let fill = Fill { tenants: arguments.tenants, rows: arguments.rows, seed: arguments.seed };
    saas::fill_v1(&client, fill).await?;
    Ok(())
}

/// Unit: milliseconds.
pub fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn program_path(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let path = match &arguments.replat {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("replat"),
    };
    // It runs in a folder of its own, so a relative path would lead elsewhere.
    let absolute = path.canonicalize();
    absolute.map_err(|source| format!("there is no program at {}: {source}", path.display()).into())
}

/// A folder for the spec and the program's own state; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    /// Named after blue's folder, which no other demo has.
    fn create(server: &Path) -> Result<Folder, Failure> {
        let name = server.file_name().ok_or("a server's folder has a name")?.to_string_lossy();
        let path = std::env::temp_dir().join(format!("replat-demo-{name}"));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    fn keep(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        drop(fs::remove_dir_all(&self.0));
    }
}
