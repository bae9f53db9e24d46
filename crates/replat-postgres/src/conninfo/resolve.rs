//! Sources to [`ConnInfo`]: precedence, defaults, and the rules that join parameters.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::parameters::Settings;
use super::passfile::PassFile;
use super::{
    CONNECT_TIMEOUT, ChannelBinding, ConnInfo, ConnInfoError, Environment, Host, Keepalive, PasswordSource,
    Place, RootCertificates, Secret, Source, SslMode, TargetSessionAttrs, service, syntax,
};

const PORT: u16 = 5432;

pub(super) fn resolve(explicit: &str, environment: &Environment) -> Result<ConnInfo, ConnInfoError> {
    let settings = gather(explicit, environment)?;
    let (sslmode, sslrootcert) = trust(&settings, environment)?;
    let user = match settings.text("user").or(environment.user.as_deref()) {
        Some(user) => user.to_owned(),
        None => return Err(ConnInfoError::NoUser),
    };
    let mut info = ConnInfo {
        hosts: hosts(&settings, environment)?,
        dbname: settings.text("dbname").unwrap_or(&user).to_owned(),
        user,
        password_source: PasswordSource::Nowhere,
        sslmode,
        sslrootcert,
        sslcert: own_file(&settings, "sslcert", "postgresql.crt", environment),
        sslkey: own_file(&settings, "sslkey", "postgresql.key", environment),
        channel_binding: channel_binding(&settings)?,
        target_session_attrs: target_session_attrs(&settings)?,
        options: settings.text("options").map(str::to_owned),
        application_name: application_name(&settings),
        connect_timeout: connect_timeout(&settings)?,
        keepalive: keepalive(&settings)?,
        warnings: Vec::new(),
    };
    fill_passwords(&mut info, &settings, environment);
    Ok(info)
}

/// Joins the sources; the strongest speaks first, and what is said stays.
fn gather(explicit: &str, environment: &Environment) -> Result<Settings, ConnInfoError> {
    let mut settings = Settings::default();
    settings.add(syntax::parse(explicit)?, Source::ConnectionString)?;
    let service = settings.text("service").or(environment.var("PGSERVICE")).filter(|name| !name.is_empty());
    if let Some(service) = service.map(str::to_owned) {
        settings.add(service::parameters(&service, environment)?, Source::Service)?;
    }
    settings.add_environment(environment)?;
    Ok(settings)
}

fn hosts(settings: &Settings, environment: &Environment) -> Result<Vec<Host>, ConnInfoError> {
    let names = list(settings, "host");
    let addresses = list(settings, "hostaddr");
    let ports = list(settings, "port");
    let count = addresses.len().max(names.len()).max(1);
    same_length("host", &names, count)?;
    same_length("hostaddr", &addresses, count)?;
    if ports.len() > 1 {
        same_length("port", &ports, count)?;
    }
    let host = |position: usize| {
        let address = addresses.get(position).copied().unwrap_or("");
        let port = ports.get(position).or(ports.first()).copied().unwrap_or("");
        Ok(Host {
            place: place(settings, names.get(position).copied().unwrap_or(""), address, environment)?,
            port: port_number(settings, port)?,
            password: None,
        })
    };
    (0..count).map(host).collect()
}

fn list<'a>(settings: &'a Settings, name: &'static str) -> Vec<&'a str> {
    settings.text(name).map(|value| value.split(',').map(str::trim).collect()).unwrap_or_default()
}

fn same_length(counted: &'static str, list: &[&str], hosts: usize) -> Result<(), ConnInfoError> {
    match list.len() {
        0 => Ok(()),
        found if found == hosts => Ok(()),
        found => Err(ConnInfoError::Count { counted, found, hosts }),
    }
}

fn place(
    settings: &Settings,
    name: &str,
    address: &str,
    environment: &Environment,
) -> Result<Place, ConnInfoError> {
    if !address.is_empty() {
        let ip: Option<IpAddr> = address.parse().ok();
        let ip = ip.ok_or_else(|| bad(settings, "hostaddr", "an IP address such as 10.0.0.1 or ::1"))?;
        return Ok(Place::Address { name: (!name.is_empty()).then(|| name.to_owned()), ip });
    }
    match name.chars().next() {
        Some('/') => Ok(Place::UnixDirectory(name.into())),
        Some('@') => Err(bad(settings, "host", "a name, an address or a directory (not an abstract socket)")),
        Some(_) => Ok(Place::Name(name.to_owned())),
        None => Ok(match &environment.socket_directory {
            Some(directory) => Place::UnixDirectory(directory.clone()),
            None => Place::Name("localhost".to_owned()),
        }),
    }
}

fn port_number(settings: &Settings, text: &str) -> Result<u16, ConnInfoError> {
    match text {
        "" => Ok(PORT),
        text => match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(bad(settings, "port", "a number from 1 to 65535")),
        },
    }
}

fn bad(settings: &Settings, name: &'static str, expected: &'static str) -> ConnInfoError {
    let source_name = settings.get(name).map_or(Source::ConnectionString, |setting| setting.source);
    ConnInfoError::BadValue { source_name, name, expected }
}

/// `sslmode` and `sslrootcert` together: the system's authorities make the strictest mode the default and the
/// only one.
fn trust(
    settings: &Settings,
    environment: &Environment,
) -> Result<(SslMode, RootCertificates), ConnInfoError> {
    let expected = "disable, allow, prefer, require, verify-ca or verify-full";
    let mode = settings.read("sslmode", expected, |text| {
        Some(match text {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    })?;
    if settings.text("sslrootcert") == Some("system") {
        return match mode {
            None | Some(SslMode::VerifyFull) => Ok((SslMode::VerifyFull, RootCertificates::System)),
            Some(_) => Err(ConnInfoError::WeakSslMode),
        };
    }
    let file = own_file(settings, "sslrootcert", "root.crt", environment);
    let roots = file.map_or(RootCertificates::Nowhere, RootCertificates::File);
    Ok((mode.unwrap_or(SslMode::Prefer), roots))
}

/// The file that a parameter names, else the one of that name in `~/.postgresql`.
fn own_file(
    settings: &Settings,
    name: &'static str,
    usual: &str,
    environment: &Environment,
) -> Option<PathBuf> {
    let in_home = || environment.home.as_ref().map(|home| home.join(".postgresql").join(usual));
    settings.text(name).map(PathBuf::from).or_else(in_home)
}

fn channel_binding(settings: &Settings) -> Result<ChannelBinding, ConnInfoError> {
    let read = settings.read("channel_binding", "disable, prefer or require", |text| {
        Some(match text {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            _ => return None,
        })
    })?;
    Ok(read.unwrap_or(ChannelBinding::Prefer))
}

fn target_session_attrs(settings: &Settings) -> Result<TargetSessionAttrs, ConnInfoError> {
    let expected = "any, read-write, read-only, primary, standby or prefer-standby";
    let read = settings.read("target_session_attrs", expected, |text| {
        Some(match text {
            "any" => TargetSessionAttrs::Any,
            "read-write" => TargetSessionAttrs::ReadWrite,
            "read-only" => TargetSessionAttrs::ReadOnly,
            "primary" => TargetSessionAttrs::Primary,
            "standby" => TargetSessionAttrs::Standby,
            "prefer-standby" => TargetSessionAttrs::PreferStandby,
            _ => return None,
        })
    })?;
    Ok(read.unwrap_or(TargetSessionAttrs::Any))
}

fn application_name(settings: &Settings) -> Option<String> {
    settings.text("application_name").or(settings.text("fallback_application_name")).map(str::to_owned)
}

/// Zero and below wait without end, as in libpq.
fn connect_timeout(settings: &Settings) -> Result<Option<Duration>, ConnInfoError> {
    let seconds =
        settings.read("connect_timeout", "a whole number of seconds", |text| text.parse::<i32>().ok())?;
    Ok(match seconds {
        None => Some(CONNECT_TIMEOUT),
        Some(seconds) => u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs),
    })
}

/// Zero stands for the default throughout, as in libpq.
fn keepalive(settings: &Settings) -> Result<Keepalive, ConnInfoError> {
    let number = |name| {
        let read =
            settings.read(name, "a whole number that is not negative", |text| text.parse::<u32>().ok());
        read.map(|number| number.filter(|number| *number > 0))
    };
    let seconds = |name| number(name).map(|number| number.map(|seconds| Duration::from_secs(seconds.into())));
    let enabled = settings.read("keepalives", "a whole number", |text| text.parse::<i32>().ok())?;
    let user_timeout = number("tcp_user_timeout")?.map(|millis| Duration::from_millis(millis.into()));
    Ok(Keepalive {
        enabled: enabled != Some(0),
        idle: seconds("keepalives_idle")?.unwrap_or(Keepalive::USUAL.idle),
        interval: seconds("keepalives_interval")?.unwrap_or(Keepalive::USUAL.interval),
        count: number("keepalives_count")?.unwrap_or(Keepalive::USUAL.count),
        user_timeout,
    })
}

fn fill_passwords(info: &mut ConnInfo, settings: &Settings, environment: &Environment) {
    if let Some(setting) = settings.get("password") {
        info.password_source = match setting.source {
            Source::ConnectionString => PasswordSource::ConnectionString,
            Source::Service => PasswordSource::Service,
            Source::Environment => PasswordSource::Environment,
        };
        for host in &mut info.hosts {
            host.password = Some(Secret::new(&setting.value));
        }
        return;
    }
    let in_home = || environment.home.as_ref().map(|home| home.join(".pgpass"));
    let Some(path) = settings.text("passfile").map(PathBuf::from).or_else(in_home) else { return };
    match PassFile::read(&path, environment) {
        Ok(Some(file)) => fill_from(&file, info),
        Ok(None) => {}
        Err(warning) => info.warnings.push(warning),
    }
}

fn fill_from(file: &PassFile, info: &mut ConnInfo) {
    for host in &mut info.hosts {
        host.password = file.password(&host.place, host.port, &info.dbname, &info.user);
    }
    if info.has_password() {
        info.password_source = PasswordSource::PassFile;
    }
}
