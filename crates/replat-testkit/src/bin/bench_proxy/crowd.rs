//! Many clients that are logged in, most of them idle, and a switch.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use replat_testkit::Pgbouncer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::Failure;
use crate::figures::Crowd;
use crate::place::{Place, Program, Proxy, computed_us, memory_bytes};
use crate::switches::{Stage, account, longest, switch, writer};

/// How many of a crowd work; fewer in a small one.
const ACTIVE: usize = 300;
/// How many of the idle ask something in the end, where each that does keeps a server.
const WOKEN: usize = 300;
/// How often each of those that work writes: together as many as can be copied along.
const PACE: Duration = Duration::from_millis(200);
/// How many log in, and wake up, at once.
const AT_ONCE: usize = 100;
/// There and back, and there.
const SWITCHES: u32 = 5;
/// For how long the proxy is watched while nobody asks anything.
const IDLE: Duration = Duration::from_secs(3);
/// Sessions that the deployment and its questions need.
const RESERVED: usize = 60;

/// A client that says little: it should cost next to nothing here.
#[derive(Debug)]
struct Idler(TcpStream);

impl Idler {
    async fn log_in(port: u16) -> io::Result<Idler> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut body = vec![0, 3, 0, 0];
        let said = ["user", "postgres", "database", "bench", "options", "-c replat.partition=acme"];
        said.iter().for_each(|word| body.extend(word.bytes().chain([0])));
        body.push(0);
        let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &body].concat()).await?;
        let mut idler = Idler(stream);
        idler.answer().await?;
        Ok(idler)
    }

    /// Asks where it is.
    async fn place(&mut self) -> io::Result<String> {
        let sql = b"select current_database()\0";
        let length = u32::try_from(sql.len() + 4).map_err(io::Error::other)?;
        self.0.write_all(&[&b"Q"[..], &length.to_be_bytes(), sql].concat()).await?;
        self.answer().await
    }

    /// Reads until the server is ready; the first column of the last row, or the error.
    async fn answer(&mut self) -> io::Result<String> {
        let mut found = String::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length.saturating_sub(4)];
            self.0.read_exact(&mut body).await?;
            match head[0] {
                b'D' => found = String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned(),
                b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).replace('\0', " "))),
                b'Z' => return Ok(found),
                _ => {}
            }
        }
    }
}

/// Lets `size` clients in, has some of them work, moves their partition, and has the others follow.
pub async fn measure(program: &Program, size: usize, pooled: bool) -> Result<Crowd, Failure> {
    let active = ACTIVE.min(size / 3);
    // Whoever is pooled has a server from its first statement on, and for good.
    let woken = if pooled { WOKEN.min(size - active) } else { size - active };
    // Each has a second one while it moves, for a moment.
    let room = if pooled { 2 * (active + woken) } else { size + size / 4 };
    let place = Place::start(program, room + RESERVED).await?;
    let most = size.to_string();
    let pooler = match pooled {
        true => Some(pooler(&place, size, active + woken).await?),
        false => None,
    };
    let through = pooler.as_ref().map(|pooler| format!("127.0.0.1:{}", pooler.port()));
    let through = through.map(|address| [format!("blue={address}"), format!("green={address}")]);
    let mut words = vec!["--no-statements", "--clients-max", &most];
    for one in through.iter().flatten() {
        words.extend(["--through", one]);
    }
    let proxy = Arc::new(place.proxy(&words).await?);
    let empty = memory_bytes(proxy.id());
    let begun = Instant::now();
    let mut idlers = log_in(&proxy, size - active).await?;
    let login_s = begun.elapsed().as_secs_f64();
    let per = |now: Option<u64>, clients: usize| {
        now.zip(empty).map(|(now, empty)| now.saturating_sub(empty) / clients.max(1) as u64)
    };
    let memory = per(memory_bytes(proxy.id()), idlers.len());
    let before = computed_us(proxy.id());
    tokio::time::sleep(IDLE).await;
    let idle_us = before.zip(computed_us(proxy.id())).map(|(before, after)| after - before);

    let stage = Arc::new(Stage::default());
    let writers: Vec<_> = (0..active).map(|at| writer(&proxy, &stage, 1, "acme", at, PACE)).collect();
    let _deploying = place.deploy().await?;
    let (_, home) = switch(&place, &stage, SWITCHES).await?;
    stage.end();
    let mut all = Vec::new();
    for writer in writers {
        all.push(writer.await?);
    }
    let (_, lost, unexpected) = account(&place, &all, home).await?;
    let mut errors: u64 = all.iter().map(|seen| seen.errors).sum();
    let mut example = all.iter().find_map(|seen| seen.example.clone());
    let begun = Instant::now();
    let asleep = idlers.split_off(woken);
    for said in wake(idlers).await? {
        if !said.as_ref().is_ok_and(|(_, place)| place == home) {
            errors += 1;
            example.get_or_insert_with(|| {
                format!("an idle client at {home}: {:?}", said.map(|(_, place)| place))
            });
        }
    }
    let follow_s = begun.elapsed().as_secs_f64();
    let memory_after = per(memory_bytes(proxy.id()), size - active);
    drop(asleep);
    Ok(Crowd {
        clients: size,
        active,
        pooled,
        login_s,
        memory_bytes: memory,
        memory_after_bytes: memory_after,
        idle_cpu_percent: idle_us.map(|us| us / IDLE.as_secs_f64() / 10_000.0),
        pauses_ms: longest(&all, 1, SWITCHES),
        woken,
        follow_s,
        errors,
        example,
        lost: lost + unexpected,
    })
}

async fn pooler(place: &Place, size: usize, servers: usize) -> Result<Pgbouncer, Failure> {
    let of = |name: &str| format!("host=127.0.0.1 port={} dbname={name} user=postgres", place.server.port());
    let (most, pool) = ((2 * size).to_string(), servers.to_string());
    let settings = [
        ("pool_mode", "session"),
        ("max_client_conn", most.as_str()),
        ("default_pool_size", &pool),
        ("ignore_startup_parameters", "options"),
    ];
    Ok(Pgbouncer::start(&[("blue", of("blue")), ("green", of("green"))], &settings).await?)
}

/// Has each ask where it is. They stay logged in until all have an answer.
async fn wake(idlers: Vec<Idler>) -> Result<Vec<io::Result<(Idler, String)>>, Failure> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let asking: Vec<_> = idlers
        .into_iter()
        .map(|mut idler| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let _turn = gate.acquire().await.map_err(io::Error::other)?;
                let place = idler.place().await?;
                Ok((idler, place))
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(asking.len());
    for one in asking {
        answers.push(one.await?);
    }
    Ok(answers)
}

async fn log_in(proxy: &Proxy, count: usize) -> Result<Vec<Idler>, Failure> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let port = proxy.port;
    let coming: Vec<_> = (0..count)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let _turn = gate.acquire().await.map_err(io::Error::other)?;
                Idler::log_in(port).await
            })
        })
        .collect();
    let mut idlers = Vec::with_capacity(count);
    for one in coming {
        let idler = one.await?;
        let so_far = idlers.len();
        idlers.push(idler.map_err(|e| format!("a client could not log in after {so_far} others: {e}"))?);
    }
    Ok(idlers)
}
