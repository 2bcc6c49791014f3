//! `archive init`: writes the commented configuration that `config/archive.toml` is.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use crate::cli::InitArgs;
use crate::config::TEMPLATE;
use crate::error::{Explain, Failure, explained};
use crate::exit_code::ExitCode;
use crate::output::Output;
use crate::step::Step;
use crate::text;

/// Writes the file, 0600, unless there is one.
pub fn init(args: &InitArgs, output: &Output) -> Result<ExitCode, Failure> {
    let path = args.path.display();
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.path);
    let written = match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(explained(
            format!("`{path}` exists already, and is left as it is"),
            text!("give another path: `archive init PATH`" / "indiquez un autre chemin : `archive init CHEMIN`"),
        )),
        created => created.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())).explain(
            format!("failed to write `{path}`"),
            text!(
                "look at the directory: is it there, may you write in it?"
                    / "vérifiez que le répertoire existe et que vous pouvez y écrire"
            ),
        ),
    };
    written.map_err(|error| Failure::new(Step::Start, error))?;
    if !output.quiet {
        output.line(&format!("wrote {path}"));
        output.line("");
        output.line("next:");
        output.line(&format!("  1. edit {path}: the source, the destination, the mail"));
        output.line(&format!("  2. archive trust --config {path}     stores the SFTP server's host key"));
        output.line(&format!("  3. archive check --config {path}     tries everything, changes nothing that lasts"));
        output.line(&format!("  4. archive run --config {path}       the first archive"));
    }
    Ok(ExitCode::Success)
}
