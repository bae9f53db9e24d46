//! Throwaway Redis servers, which write every command to disk before they answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Signal;
use crate::service::{Make, Service, ServiceError};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_REDIS";

const MAKE: Make = Make { program: "redis-server", package: "redis-server", variable: PROGRAM_VARIABLE };

/// A Redis server of our own; stopped and removed when dropped, on `127.0.0.1`.
#[derive(Debug)]
pub struct Redis {
    service: Service,
    password: Option<String>,
}

impl Redis {
    /// Starts one that lets anybody in.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn start() -> Result<Redis, ServiceError> {
        Redis::start_with(None).await
    }

    /// Starts one with a password.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn start_with(password: Option<&str>) -> Result<Redis, ServiceError> {
        let service = Service::new(MAKE, |folder, port| {
            let (port, folder) = (port.to_string(), folder.display().to_string());
            let settings = [
                ("--port", port.as_str()),
                ("--bind", "127.0.0.1"),
                ("--dir", &folder),
                ("--daemonize", "no"),
                ("--save", ""),
                ("--appendonly", "yes"),
                ("--appendfsync", "always"),
                ("--protected-mode", "no"),
            ];
            let own = password.map(|password| ("--requirepass", password));
            let pairs = settings.into_iter().chain(own);
            Ok(pairs.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect())
        })?;
        let mut redis = Redis { service, password: password.map(str::to_owned) };
        redis.start_again().await?;
        Ok(redis)
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
        let want = if self.password.is_some() { "-NOAUTH" } else { "+PONG" };
        self.service.start(async |port| is_ready(port, want).await).await
    }
}

async fn is_ready(port: u16, want: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer[..length]).starts_with(want))
    };
    asked.await.unwrap_or(false)
}
