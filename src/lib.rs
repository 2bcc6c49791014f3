//! `archive` fetches a `.zip` every night, proves that the SQL dump in it is whole and new, packs it as `YYYYMMDD.tgz`,
//! publishes it on one or more destinations, purges by retention policy and reports.
//!
//! A map of the rooms, from the door inwards:
//!
//! - [`cli`] and [`commands`]: the command line, and what each command does; [`output`] is the only place that prints.
//! - [`config`]: the only place that reads the config file and the environment.
//! - [`pipeline`]: the run, one file per step; [`report`]: its result, as data and as mail, log block and terminal lines;
//!   [`logging`]: the log file.
//! - What the steps are made of: [`source`] (HTTPS), [`zip_source`], [`deflate`], [`tgz`] (zip in, `.tgz` out), [`dump`] (whole?
//!   new?), [`destination`] (one file per protocol), [`publish`] (upload, verify, name), [`retention`] and [`archive_name`] (pure),
//!   [`work_dir`] (state, lock, outbox).
//! - [`step`], [`exit_code`], [`text`], [`error`], [`units`], [`digest`], [`interrupt`], [`stall`], [`progress`]: the vocabulary everybody
//!   shares; `http`: what those who speak it share.

pub mod archive_name;
pub mod cli;
pub mod commands;
pub mod config;
pub mod deflate;
pub mod destination;
pub mod digest;
pub mod dump;
pub mod error;
pub mod exit_code;
mod http;
pub mod interrupt;
pub mod logging;
pub mod output;
pub mod pipeline;
pub mod progress;
pub mod publish;
pub mod report;
pub mod retention;
pub mod source;
pub mod stall;
pub mod step;
pub mod text;
pub mod tgz;
pub mod units;
mod version;
pub mod work_dir;
pub mod zip_source;
