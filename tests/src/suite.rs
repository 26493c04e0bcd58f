//! Runs the tests of one test program over one shared cluster: it is started once, each test gets a
//! reference, and in the end it is reset and the host is checked for what stayed.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cluster::{Cluster, Options};

/// A test's name and body.
pub type Test = (&'static str, fn(&Cluster) -> Result<()>);

/// Runs tests that each start what they need, one after another: what one leaves on the host is not
/// taken for another's.
pub fn run_each(tests: Vec<(&'static str, fn() -> Result<()>)>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test().map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs tests over one shared cluster, with the command line of cargo's own runner.
pub fn run(options: Options, tests: Vec<Test>) -> ExitCode {
    run_with(Arguments::from_args(), options, tests)
}

/// As [`run`], one test after another: for those that change what the whole cluster does.
pub fn run_in_turn(options: Options, tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    run_with(arguments, options, tests)
}

fn run_with(arguments: Arguments, options: Options, tests: Vec<Test>) -> ExitCode {
    let wanted = |name: &str| {
        arguments
            .filter
            .as_deref()
            .is_none_or(|filter| match arguments.exact {
                true => name == filter,
                false => name.contains(filter),
            })
    };
    let any = !arguments.list && tests.iter().any(|(name, _)| wanted(name));
    let cluster = if any {
        match Cluster::start(options) {
            Ok(cluster) => Some(Arc::new(cluster)),
            Err(error) => {
                eprintln!("the cluster of these tests did not start: {error:#}");
                return ExitCode::from(101);
            }
        }
    } else {
        None
    };
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let cluster = cluster.clone();
            Trial::test(name, move || match &cluster {
                Some(cluster) => test(cluster).map_err(|error| Failed::from(format!("{error:#}"))),
                None => Err(Failed::from("no cluster was started for this test")),
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut code = conclusion.exit_code();
    if let Some(cluster) = cluster {
        if conclusion.has_failed() {
            eprintln!("{}", cluster.log_tail());
        }
        match Arc::try_unwrap(cluster).map(Cluster::finish) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                eprintln!("the cluster of these tests did not end well: {error:#}");
                code = ExitCode::from(101);
            }
            // A test that timed out still holds the cluster; it ends with this program.
            Err(_) => code = ExitCode::from(101),
        }
    }
    code
}
