//! `rotate --watch`.

use clap::Args;
use replat_model::spec::{DurationText, SecretText};

use crate::daemon::Schedule;

/// When runs begin by themselves.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub struct WatchArgs {
    /// Stay, and run by a schedule, when rows come faster than forecast, and when a message asks for it.
    #[arg(long, conflicts_with = "check")]
    pub watch: bool,
    /// When to run, as in a crontab, such as "0 3 * * *" or "TZ=Europe/Berlin 0 3 * * *"; without a zone UTC, with a
    /// sixth field before the others seconds. Can be given several times. Default: every hour, at seven past.
    #[arg(long = "schedule", value_name = "CRON", requires = "watch")]
    pub schedules: Vec<Schedule>,
    /// How often it is measured how fast rows come, such as 1m; 0s for never.
    #[arg(long, value_name = "SPAN", requires = "watch", default_value = "30s")]
    pub velocity_every: DurationText,
    /// Run when rows come so many times as fast as forecast.
    #[arg(long, value_name = "RATIO", requires = "watch", default_value_t = 4.0, value_parser = ratio)]
    pub surge: f64,
    /// Hear what the databases' users say by NOTIFY replat_rotate. This is the default.
    #[arg(long, requires = "watch", overrides_with = "no_listen")]
    pub listen: bool,
    /// Hear no notifications: no session stays open between runs.
    #[arg(long, requires = "watch", overrides_with = "listen")]
    pub no_listen: bool,
    /// Take messages from JetStream at this NATS server: nats://HOST:4222, env:NAME or file:PATH. Others on this
    /// machine can read arguments: prefer env:NAME where the text holds a password.
    #[arg(long, env = "REPLAT_NATS_URL", hide_env_values = true, value_name = "URL",
        value_parser = super::rotate::secret)]
    pub nats: Option<SecretText>,
    /// The stream that holds the messages. It has to be there.
    #[arg(long, value_name = "NAME", requires = "watch", default_value = "replat")]
    pub nats_stream: String,
    /// Of which subject of the stream. Default: all of it.
    #[arg(long, value_name = "SUBJECT", requires = "watch")]
    pub nats_subject: Option<String>,
    /// The durable consumer that keeps our place in the stream; made if it is not there. Daemons that share one share
    /// its messages.
    #[arg(long, value_name = "NAME", requires = "watch", default_value = "replat-rotate")]
    pub nats_durable: String,
    /// The credentials for NATS: a file as nsc writes it, or env:NAME for its text.
    #[arg(long, env = "REPLAT_NATS_CREDS", hide_env_values = true, value_name = "FILE",
        value_parser = super::rotate::secret)]
    pub nats_creds: Option<SecretText>,
}

/// More than one, since less is no surge.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if ratio.is_finite() && ratio > 1.0 { Ok(ratio) } else { Err("it has to be more than 1".to_owned()) }
}
