//! replat: makes the partitions of a relational database deployable.

mod advise;
mod ask;
mod capture;
mod cli;
mod codes;
mod cohort;
mod contracts;
mod daemon;
mod deploy;
mod doctor;
mod exchange;
mod failure;
mod hooks;
mod planning;
mod project;
mod proxy;
mod render;
mod rotate;
mod route;
mod routing;
mod self_description;
mod serve;
mod source;
mod tables;
mod verbs;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, Global, LogFormat, PlanWhat};
use crate::deploy::Desk;
use crate::failure::{Exit, Failure};
use crate::render::Style;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let style = Style::of(&cli.global);
    let ran = start_log(&cli.global).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::new("RP9001", Exit::Internal, format!("no runtime: {e}")))?;
        runtime.block_on(run(&cli, style))
    });
    match ran {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            style.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

async fn run(cli: &Cli, style: Style) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Plan { what: PlanWhat::Rotate(args) } => return rotate::plan(global, style, args).await,
        Command::Apply(args) if rotate::is_plan(&args.plan) => {
            return rotate::apply(global, style, args).await;
        }
        Command::Show { what } if rotate::is_plan(what.as_ref()) => {
            return rotate::show(style, what.as_ref());
        }
        Command::Rotate(args) => return rotate::rotate(global, style, args).await,
        Command::Runway(args) => return rotate::runway(global, style, args).await,
        Command::Adopt(args) => return rotate::adopt(global, style, args).await,
        Command::Eject(args) => return rotate::eject(global, style, args).await,
        Command::Capture { verb } => return capture::capture(global, style, verb).await,
        Command::Doctor(args) => return doctor::doctor(global, style, args).await,
        Command::Advise(args) => advise::advise(global, style, args).await,
        Command::Validate => self_description::validate(global, style),
        Command::Plan { what: PlanWhat::Deploy { target, out, detail } } => {
            Desk::open(global, style)?.plan(target, out.as_deref(), *detail).await
        }
        Command::Show { what } => Desk::open(global, style)?.show(what).await,
        Command::Apply(args) => Desk::open(global, style)?.apply(args).await,
        Command::Deploy(args) => Desk::open(global, style)?.deploy(args).await,
        Command::Verify(args) => Desk::open(global, style)?.verify(&args.target).await,
        Command::Contracts { verb } => Desk::open(global, style)?.contracts(verb).await,
        Command::Proxy(args) => Desk::open(global, style)?.proxy(args).await,
        Command::Route(args) => Desk::open(global, style)?.route(args).await,
        Command::Registry(args) => Desk::open(global, style)?.registry(args).await,
        Command::Serve(args) => Desk::open(global, style)?.serve(args).await,
        Command::Explain { code } => self_description::explain(code.as_deref(), style),
        Command::Schema { what } => {
            self_description::schema(*what, style);
            Ok(())
        }
        Command::Completion { shell } => {
            self_description::completion(*shell, style);
            Ok(())
        }
        Command::Man { dir } => self_description::man(dir.as_deref(), style),
    }?;
    Ok(Exit::Done)
}

/// The log goes to standard error, or to a file; what it says is for those who look for causes.
fn start_log(global: &Global) -> Result<(), Failure> {
    let level = match global.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("REPLAT_LOG").unwrap_or_else(|_| {
        let ours = ["", "_control", "_postgres", "_proxy", "_registry", "_router", "_server"];
        let levels = ours.map(|part| format!("replat{part}={level}"));
        EnvFilter::new(format!("warn,{}", levels.join(",")))
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match &global.log_file {
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(|e| {
                Failure::new("RP9001", Exit::Usage, format!("{} cannot be written: {e}", path.display()))
            })?;
            let builder = builder.with_ansi(false).with_writer(std::sync::Mutex::new(file));
            match global.log_format {
                LogFormat::Json => builder.json().init(),
                LogFormat::Text => builder.init(),
            }
        }
        None => {
            let builder = builder.with_writer(std::io::stderr);
            match global.log_format {
                LogFormat::Json => builder.json().init(),
                LogFormat::Text => builder.with_ansi(false).init(),
            }
        }
    }
    Ok(())
}
