//! The one file with `unsafe` (`src/deflate/block_inflate.rs`) under valgrind: no byte is read or written outside the
//! buffers that it is given, none that was never written is used, and the decoder's state is freed.

use std::process::Command;

use anyhow::{Context, ensure};
use archive::deflate::Inflater;
use fastrand::Rng;

use crate::streams::Stream;
use crate::support::dumps::Dump;
use crate::support::harness::{Need, Suite, find_program};
use crate::support::zips::deflate;

const INNER: &str = "the_inflater_keeps_to_buffers_of_any_size";

pub fn cases(suite: &mut Suite) {
    suite.case(INNER, &[], keeps_to_its_buffers);
    suite.case("the_unsafe_file_is_clean_under_valgrind", &[Need::program("valgrind")], || {
        let output = Command::new(find_program("valgrind").context("the case names it")?)
            .args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"])
            .arg(std::env::current_exe()?)
            .args(["--test-threads=1", "--exact", INNER])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && complaint.is_empty(), "{}: {complaint}", output.status);
        ensure!(said.contains("1 passed"), "valgrind ran nothing: {said}");
        Ok(())
    });
}

/// Input and output in boxes of exactly the size that is announced, so that one byte too far is one outside.
fn keeps_to_its_buffers() -> anyhow::Result<()> {
    let text = Dump::new(5).size(30_000).text();
    let mut streams = vec![(deflate(&text), text)];
    let mut rng = Rng::with_seed(5);
    for _ in 0..6 {
        let stream = Stream::random(&mut rng);
        let content = stream.content.clone();
        streams.push((stream.into_bytes(), content));
    }
    for (stream, content) in &streams {
        for (in_step, out_step) in [(1, 1), (1, 70_000), (70_000, 1), (13, 257), (4096, 300), (70_000, 70_000)] {
            let (mut inflater, mut used, mut out) = (Inflater::new()?, 0, Vec::new());
            loop {
                let input: Box<[u8]> = stream[used..stream.len().min(used + in_step)].into();
                let mut room = vec![0; out_step].into_boxed_slice();
                let progress = inflater.inflate(&input, &mut room)?;
                used += progress.consumed;
                out.extend_from_slice(&room[..progress.produced]);
                if progress.finished {
                    break;
                }
                ensure!(progress.consumed + progress.produced > 0, "stuck at {used} of {}", stream.len());
            }
            ensure!(&out == content, "steps of {in_step} and {out_step}");
            ensure!(inflater.block_map().is_some_and(|map| map.stream_bytes() == stream.len() as u64));
        }
        // Damaged and cut short: the states that are left behind in the middle are freed too.
        for at in (0..stream.len()).step_by(1 + stream.len() / 60) {
            let mut damaged: Box<[u8]> = stream[..].into();
            damaged[at] ^= 1 << (at % 8);
            let mut inflater = Inflater::new()?;
            let mut room = vec![0; 500].into_boxed_slice();
            let mut used = 0;
            while let Ok(progress) = inflater.inflate(&damaged[used..], &mut room) {
                used += progress.consumed;
                if progress.finished || progress.consumed + progress.produced == 0 {
                    break;
                }
            }
        }
    }
    Ok(())
}
