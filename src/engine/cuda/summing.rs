//! CUDA C that sums an expression over all but some axes, in parts whose order is always the same, and adds the parts up.

use super::source::{Expression, FINISHING, Form, LANES, SUMMING};
use std::fmt::Write;

/// Adds up what `count` threads share, each its `own`, in halves; from one to the next are as many elements as `apart` says.
fn halved(text: &mut String, count: &str, own: &str, apart: &str) {
    let _ = writeln!(
        text,
        "  for (unsigned h = {count} / 2; h > 0; h /= 2) {{ if ({own} < h) shared[threadIdx.x] += shared[threadIdx.x + h{apart}]; SYNCHRONIZE(); }}"
    );
}

impl Expression {
    /// The steps whose results are summed.
    fn summed(&self) -> &[usize] {
        self.results.get(self.whole()..).unwrap_or_default()
    }

    /// Where sums go: as parts, or, where there is but one, as what is asked for.
    fn ends(&self, form: &Form) -> String {
        let mut text = "float *RESTRICT parts, place splits, float count".to_string();
        for s in 0..self.summed().len() {
            let _ = write!(text, ", {}_t *sum{s}", form.output.name());
        }
        text
    }

    /// The beginning of a kernel that sums in blocks.
    fn begun(&self, text: &mut String, form: &Form) {
        let (parameters, ends) = (self.parameters(form), self.ends(form));
        let _ = writeln!(text, "KERNEL expression({parameters}place outer, place channels, place inner, {ends}) {{");
        let _ = writeln!(text, "  SHARED float shared[{SUMMING}];");
    }

    /// The end of a block's sum.
    fn ended(&self, form: &Form, s: usize, of: &str, from: &str) -> String {
        format!(
            "{{ if (splits == 1) sum{s}[{of}] = to_{}({from} / count); else parts[({s} * splits + blockIdx.y) * channels + {of}] = {from}; }}\n",
            form.output.name()
        )
    }

    /// A block sums a part of what belongs to some channels, which are last: places are `[outer, channels]`. Threads beside each other have channels that are, one or four each.
    pub(super) fn summing_rows(&self, text: &mut String, form: &Form) {
        let each = if form.quads { 4 } else { 1 };
        self.begun(text, form);
        let _ = writeln!(text, "  unsigned lanes = blockDim.x < {LANES} ? blockDim.x : {LANES}, rows = blockDim.x / lanes;");
        text.push_str("  unsigned lane = threadIdx.x % lanes, row = threadIdx.x / lanes; (void)inner;\n");
        let _ = writeln!(text, "  place channel = ((place)blockIdx.x * lanes + lane) * {each};");
        let sums = self.summed();
        for s in 0..sums.len() {
            let _ = writeln!(text, "  float s{s}[{each}]; for (int j = 0; j < {each}; ++j) s{s}[j] = 0.0f;");
        }
        text.push_str(
            "  if (channel < channels) for (place o = (place)blockIdx.y * rows + row; o < outer; o += (place)gridDim.y * rows) {\n",
        );
        text.push_str("    place first = o * channels + channel;\n");
        let added: String = sums.iter().enumerate().map(|(s, step)| format!("    s{s}[j] += t{step};\n")).collect();
        self.group(text, form, &added);
        text.push_str("  }\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "  UNROLL for (int j = 0; j < {each}; ++j) {{\n  shared[threadIdx.x] = s{s}[j]; SYNCHRONIZE();");
            halved(text, "rows", "row", " * lanes");
            text.push_str("  if (row == 0 && channel < channels) ");
            text.push_str(&self.ended(form, s, "channel + j", "shared[lane]"));
            text.push_str("  SYNCHRONIZE();\n  }\n");
        }
        text.push_str("}\n");
    }

    /// A block sums a part of what belongs to a channel: places are `[outer, channels, inner]`.
    pub(super) fn summing(&self, text: &mut String, form: &Form) {
        let sums = self.summed();
        self.begun(text, form);
        text.push_str("  place channel = blockIdx.x, total = outer * inner;\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "  float s{s} = 0.0f;");
        }
        text.push_str(
            "  for (place at = (place)blockIdx.y * blockDim.x + threadIdx.x; at < total; at += (place)gridDim.y * blockDim.x) {\n",
        );
        text.push_str("    place o = at / inner, first = (o * channels + channel) * inner + (at - o * inner);\n");
        let added: String = sums.iter().enumerate().map(|(s, step)| format!("    s{s} += t{step};\n")).collect();
        self.group(text, form, &added);
        text.push_str("  }\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "  shared[threadIdx.x] = s{s}; SYNCHRONIZE();");
            halved(text, "blockDim.x", "threadIdx.x", "");
            text.push_str("  if (threadIdx.x == 0) ");
            text.push_str(&self.ended(form, s, "channel", "shared[0]"));
            text.push_str("  SYNCHRONIZE();\n");
        }
        text.push_str("}\n");
    }

    /// Adds up the parts of each sum.
    pub(super) fn finishing(&self, text: &mut String, form: &Form) {
        let (sums, output) = (self.summed(), form.output.name());
        let _ = writeln!(
            text,
            "KERNEL finish(place channels, {}) {{\n  SHARED float shared[{FINISHING}];\n  float sum = 0.0f;",
            self.ends(form)
        );
        text.push_str(
            "  for (place k = threadIdx.x; k < splits; k += blockDim.x) sum += parts[(blockIdx.y * splits + k) * channels + blockIdx.x];\n",
        );
        text.push_str("  shared[threadIdx.x] = sum; SYNCHRONIZE();\n");
        halved(text, "blockDim.x", "threadIdx.x", "");
        text.push_str("  if (threadIdx.x == 0) {\n");
        for s in 0..sums.len() {
            let _ = writeln!(text, "    if (blockIdx.y == {s}) sum{s}[blockIdx.x] = to_{output}(shared[0] / count);");
        }
        text.push_str("  }\n}\n");
    }
}
