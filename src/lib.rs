//! `archive` fetches a `.zip` every night, proves that the SQL dump in it is whole and new, packs it as `YYYYMMDD.tgz`,
//! publishes it on one or more destinations, purges by retention policy and reports.

pub mod archive_name;
pub mod config;
pub mod deflate;
pub mod destination;
pub mod digest;
pub mod dump;
pub mod error;
pub mod exit_code;
pub mod interrupt;
pub mod logging;
pub mod pipeline;
pub mod progress;
pub mod publish;
pub mod report;
pub mod retention;
pub mod source;
pub mod step;
pub mod text;
pub mod tgz;
pub mod units;
pub mod work_dir;
pub mod zip_source;
