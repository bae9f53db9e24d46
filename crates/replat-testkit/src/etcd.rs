//! Throwaway etcd servers of one member.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Signal, free_port};
use crate::service::{Make, Service, ServiceError};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_ETCD";

const MAKE: Make = Make { program: "etcd", package: "etcd-server", variable: PROGRAM_VARIABLE };

/// An etcd server of our own; stopped and removed when dropped. Anybody may come in, on `127.0.0.1`.
#[derive(Debug)]
pub struct Etcd {
    service: Service,
}

impl Etcd {
    /// Starts one, and waits until it has a leader, which is itself.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn start() -> Result<Etcd, ServiceError> {
        let service = Service::new(MAKE, |folder, port| {
            let (client, peer) =
                (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()?));
            let data = folder.join("data").display().to_string();
            let arguments = [
                ("--name", "only"),
                ("--data-dir", &data),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &format!("only={peer}")),
                ("--logger", "zap"),
            ];
            Ok(arguments.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect())
        })?;
        let mut etcd = Etcd { service };
        etcd.start_again().await?;
        Ok(etcd)
    }

    /// Where it is reached: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.service.port)
    }

    /// Ends it without a word. What it has acknowledged stays.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Process`].
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        self.service.kill()
    }

    /// Has it stand still, or go on.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Process`].
    pub fn signal(&self, signal: Signal) -> Result<(), ServiceError> {
        self.service.signal(signal)
    }

    /// Starts it with what it has stored, at the same address.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub async fn start_again(&mut self) -> Result<(), ServiceError> {
        self.service.start(is_healthy).await
    }
}

async fn is_healthy(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.contains(r#""health":"true""#))
    };
    asked.await.unwrap_or(false)
}
