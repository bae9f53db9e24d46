//! Throwaway etcd servers of one member. Anybody may come in, on `127.0.0.1`, until a test says otherwise.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::Certificates;
use crate::server::free_port;
use crate::service::{Make, Service, ServiceError};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_ETCD";

const MAKE: Make = Make { program: "etcd", package: "etcd-server", variable: PROGRAM_VARIABLE };

/// Starts one, and waits until it has a leader, which is itself. With certificates it also listens at
/// [`Service::tls_address`].
///
/// # Errors
///
/// See [`ServiceError`].
pub async fn start(tls: Option<&Certificates>) -> Result<Service, ServiceError> {
    let service = Service::new(MAKE, tls.is_some(), |folder, port, tls_port| {
        let plain = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{}", free_port()?);
        let client = match tls_port {
            Some(tls_port) => format!("{plain},https://127.0.0.1:{tls_port}"),
            None => plain,
        };
        let data = folder.join("data").display().to_string();
        let mut arguments = vec![
            ("--name", "only".to_owned()),
            ("--data-dir", data),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("only={peer}")),
            ("--logger", "zap".to_owned()),
        ];
        if let Some(tls) = tls {
            arguments.push(("--cert-file", tls.cert().display().to_string()));
            arguments.push(("--key-file", tls.key().display().to_string()));
        }
        Ok(arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect())
    })?;
    service.started(|port| Box::pin(is_healthy(port))).await
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
