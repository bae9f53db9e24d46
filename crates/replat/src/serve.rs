//! `serve`: routes over HTTP, and to HAProxy.

use std::sync::Arc;

use replat_engine::registry::Registry;
use replat_server::haproxy::Haproxy;
use replat_server::{BadToken, MayNotListen, Options, Server, Tokens, check_address};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServeArgs;
use crate::deploy::Desk;
use crate::failure::{Exit, Failure, causes};

impl Desk<'_> {
    /// Serves until a signal ends it.
    pub async fn serve(&self, args: &ServeArgs) -> Result<(), Failure> {
        let tokens = args.token_file.as_deref().map(Tokens::read).transpose().map_err(no_tokens)?;
        check_address(args.listen, tokens.is_some()).map_err(too_open)?;
        let contexts: Vec<String> = match args.context.as_deref() {
            Some(context) => vec![self.project.context(Some(context))?.0.to_owned()],
            None => self.project.spec.contexts.keys().cloned().collect(),
        };
        let haproxy = match (&args.haproxy, &args.haproxy_map) {
            (Some(socket), Some(map)) => {
                let (context, _) = self.project.context(args.context.as_deref())?;
                Some(Haproxy { context: context.to_owned(), socket: socket.clone(), map: map.clone() })
            }
            _ => None,
        };
        let registry: Arc<dyn Registry> = Arc::new(self.need_registry()?);
        let name = registry.name();
        let (mut term, mut int) = (heed(SignalKind::terminate())?, heed(SignalKind::interrupt())?);
        let listening = TcpListener::bind(args.listen).await;
        let options =
            Options { tokens, haproxy, ..Options::new(&self.project.spec.project, contexts.clone()) };
        let server = listening.and_then(|listener| Server::start(listener, registry, options));
        let server = server.map_err(|e| {
            Failure::new("RP7005", Exit::Precondition, format!("{} cannot be listened at: {e}", args.listen))
                .remedy("Stop what listens there, or choose another place: --listen=127.0.0.1:0 takes a free port.")
        })?;
        let url = format!("http://{}", server.address());
        self.style.result(
            &format!("serving {} of {name} at {url}\n", contexts.join(", ")),
            &json!({ "url": url, "registry": name, "contexts": contexts }),
        );
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        self.style.remark("stopping: streams end now; another signal stops at once");
        tokio::select! {
            () = server.stop() => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    }
}

fn heed(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|e| Failure::new("RP9001", Exit::Internal, format!("signals cannot be heard: {e}")))
}

fn no_tokens(error: BadToken) -> Failure {
    Failure::new("RP7005", Exit::Precondition, error.to_string()).because(causes(&error)).remedy(
        "Make one: (umask 077; openssl rand -hex 32 > serve.token), and name it: --token-file=serve.token",
    )
}

fn too_open(error: MayNotListen) -> Failure {
    Failure::new("RP7005", Exit::Precondition, error.to_string())
        .remedy("Name a file with a token: (umask 077; openssl rand -hex 32 > serve.token); --token-file=serve.token")
        .remedy("Or listen on this machine only: --listen=127.0.0.1:7440")
}
