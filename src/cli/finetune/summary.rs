//! What is said of a run at its end.

use crate::cli::output::percent;
use spgraph::shell::word;
use spgraph::train::RunState;
use spgraph::train::job::JobResult;

/// What came out, and what can be done with it.
pub fn text(result: &JobResult) -> String {
    let r = &result.run.results;
    let (path, run) = (result.run.path.display(), word(&result.run.path));
    let configuration = result.run.path.join("config.toml");
    let best = r.best.as_ref().map_or(String::new(), |b| {
        let other = if b.step == r.steps { "" } else { "; `--state final` takes the last" };
        format!("validation  {}, the best, after step {}: what eval, predict and export take{other}\n", b.headline(), b.step)
    });
    let test = result.test.as_ref().map_or(String::new(), |found| {
        format!("test        {}, loss {:.4}, {} images that nothing was chosen by\n", found.headline(), found.loss, found.images)
    });
    let (exported, next) = match &result.exported {
        None => (String::new(), format!("            spgraph export {run} -o tuned.onnx\n")),
        Some(exported) => {
            let state = match (exported.state, &r.best) {
                (RunState::Best, Some(best)) => format!("the best by validation, after step {}", best.step),
                _ => "the state after the last step".into(),
            };
            let file = &exported.path;
            (format!("            {}: {state}\n", file.display()), format!("            spgraph predict {} IMAGE\n", word(file)))
        }
    };
    let of_best = r.of_best();
    let still = &r.distance.unmoved;
    let unmoved = match still.elements {
        0 => String::new(),
        n => format!(
            "unmoved     {} of {} shared elements are exactly at their start, and {} of {} channels as a whole\n",
            n, still.of_elements, still.channels, still.of_channels
        ),
    };
    format!(
        "steps       {}{} in {:.1} s, {:.0} images/s, {:.1} % of it waiting for images\n\
         training    loss {:.4} (data {:.4}, penalty {:.4}){} in the last epoch\n{best}\
         distance    {:.4} from the starting point ({} of its norm){of_best}\n{unmoved}\
         {}wrote       {path}\n{exported}\
         look at     {path}/report.html\n\
         next        spgraph eval {run} --data FOLDER\n{next}\
         again       spgraph finetune --config {}\n\
         longer      spgraph finetune --resume -o {run} --epochs +5\n",
        r.steps,
        skipped(r.skipped),
        r.seconds,
        r.images_per_second,
        100.0 * r.wait,
        r.loss,
        r.data_loss,
        r.penalty,
        if r.accuracy.is_nan() { String::new() } else { format!(", accuracy {}", percent(r.accuracy)) },
        r.distance.total,
        percent(r.distance.relative),
        test,
        word(&configuration),
    )
}

/// How many steps changed nothing, where there were some.
fn skipped(steps: u64) -> String {
    match steps {
        0 => String::new(),
        n => format!(" ({n} of them skipped: a gradient of the scaled loss was not finite)"),
    }
}
