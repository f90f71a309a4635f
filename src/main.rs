//! The binary: it parses the arguments, starts the runtime and maps the answer to an exit code.
//! What the commands do is in [`retentiond::cli`].

use std::process::ExitCode;

use retentiond::cli;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(exit) => return ExitCode::from(exit),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(cli::run(invocation));
            // The answer is given: work on files that hangs does not keep the process.
            runtime.shutdown_background();
            exit
        }
        Err(error) => cli::failed_to_start(&error),
    };
    ExitCode::from(exit)
}
