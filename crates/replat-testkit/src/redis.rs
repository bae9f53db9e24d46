//! Throwaway Redis servers on `127.0.0.1`, which write every command to disk before they answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::Certificates;
use crate::service::{Make, Service, ServiceError};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_REDIS";

const MAKE: Make = Make { program: "redis-server", package: "redis-server", variable: PROGRAM_VARIABLE };

/// Starts one: for anybody, or for whoever has the password. With certificates it also listens at
/// [`Service::tls_address`].
///
/// # Errors
///
/// See [`ServiceError`].
pub async fn start(password: Option<&str>, tls: Option<&Certificates>) -> Result<Service, ServiceError> {
    let service = Service::new(MAKE, tls.is_some(), |folder, port, tls_port| {
        let mut settings = vec![
            ("--port", port.to_string()),
            ("--bind", "127.0.0.1".to_owned()),
            ("--dir", folder.display().to_string()),
            ("--daemonize", "no".to_owned()),
            ("--save", String::new()),
            ("--appendonly", "yes".to_owned()),
            ("--appendfsync", "always".to_owned()),
            ("--protected-mode", "no".to_owned()),
        ];
        settings.extend(password.map(|password| ("--requirepass", password.to_owned())));
        if let (Some(tls), Some(tls_port)) = (tls, tls_port) {
            settings.push(("--tls-port", tls_port.to_string()));
            settings.push(("--tls-cert-file", tls.cert().display().to_string()));
            settings.push(("--tls-key-file", tls.key().display().to_string()));
            settings.push(("--tls-ca-cert-file", tls.ca().display().to_string()));
            settings.push(("--tls-auth-clients", "no".to_owned()));
        }
        Ok(settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect())
    })?;
    let want = if password.is_some() { "-NOAUTH" } else { "+PONG" };
    service.started(move |port| Box::pin(is_ready(port, want))).await
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
