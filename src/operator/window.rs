//! Sliding windows of convolutions and poolings: how attributes resolve to explicit ones, and how large the output is.

use super::checked::{OUT_OF_RANGE, signed};
use super::{Import, Rule};
use crate::ir::{Attr, Dim, Node};

/// Larger attributes make no sense, and with this bound no sum or product below can overflow.
const LIMIT: i64 = 1 << 30;

/// How much longer than twice the image a window may be: dilated windows of small images are.
const BEYOND: usize = 128;
/// What is said of windows far beyond the image.
pub(crate) const REACH: &str = "reach far beyond the";

/// Windows over the spatial axes, one entry per axis in every list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub pads_begin: Vec<usize>,
    pub pads_end: Vec<usize>,
    /// Poolings only: a last window that reaches over the end counts, unless it would start in the padding at the end.
    pub ceil: bool,
}

/// Windows along one spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowAxis {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub begin: usize,
    pub end: usize,
}

/// A list of `len` numbers from `least` to [`LIMIT`].
fn numbers(what: &str, list: &[i64], len: usize, least: i64) -> Rule<Vec<usize>> {
    if list.len() != len {
        return Err(format!("`{what}` has {} entries where {len} are expected", list.len()));
    }
    match list.iter().find(|&&v| !(least..=LIMIT).contains(&v)) {
        Some(v) => Err(format!("`{what}` holds {v}, {OUT_OF_RANGE}")),
        None => Ok(list.iter().map(|&v| v as usize).collect()),
    }
}

/// The number of axis `i`; each list has one for every axis that a window slides along.
fn along(list: &[usize], i: usize, otherwise: usize) -> usize {
    list.get(i).copied().unwrap_or(otherwise)
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads` and `auto_pad` from the source and writes explicit canonical
    /// attributes. `kernel` is what the weight says, or a pooling's `kernel_shape`; `spatial` are the input's sizes, where they
    /// are numbers: they are needed for `auto_pad` only.
    pub fn import(cx: &mut Import, kernel: Vec<usize>, spatial: &[Dim]) -> Rule<Window> {
        let axes = kernel.len();
        if spatial.len() != axes {
            return Err(format!("a window over {axes} axes cannot slide over {} spatial axes", spatial.len()));
        }
        let kernel = numbers("kernel_shape", &signed(&kernel), axes, 1)?;
        if let Some(given) = cx.ints("kernel_shape")?
            && numbers("kernel_shape", &given, axes, 1)? != kernel
        {
            return Err(format!("`kernel_shape` is {given:?}, but the weight's windows are {kernel:?}"));
        }
        let ones = || vec![1; axes];
        let strides = cx.ints("strides")?.map_or_else(|| Ok(ones()), |v| numbers("strides", &v, axes, 1))?;
        let dilations = cx.ints("dilations")?.map_or_else(|| Ok(ones()), |v| numbers("dilations", &v, axes, 1))?;
        let pads = cx.ints("pads")?;
        let auto = cx.string("auto_pad", "NOTSET")?;
        let mut window = Window { kernel, strides, dilations, pads_begin: vec![0; axes], pads_end: vec![0; axes], ceil: false };
        match auto.as_str() {
            "" | "NOTSET" => {
                let both = axes.saturating_mul(2);
                let mut pads = numbers("pads", &pads.unwrap_or_else(|| vec![0; both]), both, 0)?;
                window.pads_end = pads.split_off(axes);
                window.pads_begin = pads;
            }
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => window.pad_to_same(spatial, auto == "SAME_LOWER", cx.op_type.ends_with("Pool"))?,
            other => return Err(format!("`auto_pad` is \"{other}\", which ONNX does not know")),
        }
        window.within(spatial)?;
        window.write(cx);
        Ok(window)
    }

    /// Fails where windows reach so far beyond the image that they cover nothing but padding there: no network has that, and rules that go through the
    /// elements of a window would go through as many.
    fn within(&self, spatial: &[Dim]) -> Rule<()> {
        for (i, size) in spatial.iter().enumerate().filter_map(|(i, d)| Some((i, d.known()?))) {
            let (extent, most) = (self.extent(i), size.saturating_mul(2).saturating_add(BEYOND));
            if extent > most {
                return Err(format!("its windows of {extent} elements {REACH} {size} that axis {} has", i.saturating_add(2)));
            }
        }
        Ok(())
    }

    /// Padding that gives `⌈input / stride⌉` windows; the odd one goes to the begin with `lower`, else to the end.
    fn pad_to_same(&mut self, spatial: &[Dim], lower: bool, pooling: bool) -> Rule<()> {
        let mut pads = vec![];
        for (i, dim) in spatial.iter().enumerate() {
            let size =
                dim.known().ok_or_else(|| "`auto_pad` needs the spatial sizes as numbers; rewrite with a fixed input".to_string())?;
            let windows = size.div_ceil(self.stride(i));
            let covered = self.covered(i, windows);
            if pooling && covered < size {
                return Err(format!(
                    "its windows leave out {} of {size} elements of axis {}, and runtimes disagree where `auto_pad` puts them then; export it with \
                     explicit pads",
                    size.saturating_sub(covered),
                    i.saturating_add(2)
                ));
            }
            let total = covered.saturating_sub(size);
            let (half, rest) = (total / 2, total.div_ceil(2));
            pads.push(if lower { (rest, half) } else { (half, rest) });
        }
        (self.pads_begin, self.pads_end) = pads.into_iter().unzip();
        Ok(())
    }

    /// Writes the canonical attributes.
    fn write(&self, cx: &mut Import) {
        cx.set("kernel_shape", Attr::Ints(signed(&self.kernel)));
        cx.set("strides", Attr::Ints(signed(&self.strides)));
        cx.set("dilations", Attr::Ints(signed(&self.dilations)));
        cx.set("pads", Attr::Ints(self.pads()));
    }

    /// `pads` as ONNX writes them: all begins, then all ends.
    pub fn pads(&self) -> Vec<i64> {
        signed(&[self.pads_begin.as_slice(), &self.pads_end].concat())
    }

    /// The windows of a canonical node; attributes that it lacks have ONNX's defaults.
    pub fn of(node: &Node, kernel: Vec<usize>) -> Window {
        let axes = kernel.len();
        let read = |name: &str, len: usize, default: usize| {
            let list = node.ints(name);
            if list.len() == len { list.iter().map(|&v| v.max(0) as usize).collect() } else { vec![default; len] }
        };
        let mut pads: Vec<usize> = read("pads", axes.saturating_mul(2), 0);
        let pads_end = pads.split_off(axes);
        Window {
            strides: read("strides", axes, 1),
            dilations: read("dilations", axes, 1),
            pads_begin: pads,
            pads_end,
            ceil: node.int("ceil_mode", 0) != 0,
            kernel,
        }
    }

    /// What holds along each spatial axis.
    pub fn axes(&self) -> impl Iterator<Item = WindowAxis> + '_ {
        let one = |i: usize, kernel: usize| WindowAxis {
            kernel,
            stride: along(&self.strides, i, 1).max(1),
            dilation: along(&self.dilations, i, 1),
            begin: along(&self.pads_begin, i, 0),
            end: along(&self.pads_end, i, 0),
        };
        self.kernel.iter().enumerate().map(move |(i, &kernel)| one(i, kernel))
    }

    /// How many elements a window spans along axis `i`.
    pub fn extent(&self, i: usize) -> usize {
        self.axes().nth(i).map_or(1, |axis| axis.extent())
    }

    fn stride(&self, i: usize) -> usize {
        along(&self.strides, i, 1).max(1)
    }

    /// How many elements so many windows span together.
    fn covered(&self, i: usize, windows: usize) -> usize {
        windows.saturating_sub(1).saturating_mul(self.stride(i)).saturating_add(self.extent(i))
    }

    /// How many windows there are along axis `i` of an input of `size` elements.
    pub fn windows(&self, i: usize, size: usize) -> Rule<usize> {
        let (extent, stride) = (self.extent(i), self.stride(i));
        let begun = size.saturating_add(along(&self.pads_begin, i, 0));
        let padded = begun.saturating_add(along(&self.pads_end, i, 0));
        let room =
            padded.checked_sub(extent).ok_or_else(|| format!("a window of {extent} does not fit into {padded} (padded) elements"))?;
        let windows = room.checked_div(stride).unwrap_or(0).saturating_add(1);
        let one_more = self.ceil && !room.is_multiple_of(stride) && windows.saturating_mul(stride) < begun;
        Ok(windows.saturating_add(usize::from(one_more)))
    }

    /// Says the same without [`Window::ceil`], by more padding at the end, where the operators allow that much: less than a kernel.
    pub fn close(&mut self, spatial: &[Dim]) -> Rule<()> {
        if !self.ceil {
            return Ok(());
        }
        let sizes =
            spatial.iter().map(|d| d.known()).collect::<Option<Vec<_>>>().ok_or("`ceil_mode` needs the spatial sizes as numbers")?;
        let mut ends = vec![];
        for (i, size) in sizes.into_iter().enumerate() {
            let covered = self.covered(i, self.windows(i, size)?);
            let begun = size.saturating_add(along(&self.pads_begin, i, 0));
            ends.push(along(&self.pads_end, i, 0).max(covered.saturating_sub(begun)));
        }
        if ends.iter().zip(&self.kernel).all(|(e, k)| e < k) {
            self.pads_end = ends;
            self.ceil = false;
        }
        Ok(())
    }

    /// The output's spatial sizes.
    pub fn output(&self, spatial: &[Dim]) -> Rule<Vec<Dim>> {
        if spatial.len() != self.kernel.len() {
            return Err(format!("a window over {} axes cannot slide over {} spatial axes", self.kernel.len(), spatial.len()));
        }
        let count = |(i, d): (usize, &Dim)| match d.known() {
            Some(size) => Ok(Dim::Known(self.windows(i, size)?)),
            None => Err("a spatial size depends on the batch size".to_string()),
        };
        spatial.iter().enumerate().map(count).collect()
    }
}

impl WindowAxis {
    /// How many elements a window spans.
    pub fn extent(&self) -> usize {
        self.kernel.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Graph;
    use crate::onnx::{Attributes, pb};

    fn attribute(name: &str, ints: &[i64]) -> pb::AttributeProto {
        pb::AttributeProto { name: Some(name.into()), r#type: Some(7), ints: ints.to_vec(), ..Default::default() }
    }

    fn auto_pad(mode: &str) -> pb::AttributeProto {
        pb::AttributeProto { name: Some("auto_pad".into()), r#type: Some(3), s: Some(mode.as_bytes().to_vec()), ..Default::default() }
    }

    fn import(attribute: Vec<pb::AttributeProto>, kernel: &[usize], spatial: &[usize]) -> Rule<(Window, Node)> {
        let proto = pb::NodeProto { attribute, ..Default::default() };
        let mut graph = Graph::new("test");
        let mut cx = Import {
            graph: &mut graph,
            name: "node".into(),
            opset: 17,
            op_type: "MaxPool".into(),
            inputs: vec![],
            sequences: vec![],
            sequence: None,
            outputs: vec![],
            source: Attributes::new(&proto).map_err(|e| e.to_string())?,
            attrs: Default::default(),
            replaced: None,
            training: Default::default(),
            declared_batch: None,
            batch_blocks: 1,
            freed_batch: false,
            reading: 0,
            readings: 1,
        };
        let spatial: Vec<Dim> = spatial.iter().map(|&n| Dim::Known(n)).collect();
        let window = Window::import(&mut cx, kernel.to_vec(), &spatial)?;
        let node = Node::new("n", "MaxPool", vec![], cx.attrs);
        Ok((window, node))
    }

    #[test]
    fn canonical_attributes_say_the_same() {
        let source = vec![attribute("strides", &[2, 1]), attribute("pads", &[1, 0, 2, 0]), attribute("kernel_shape", &[3, 2])];
        let (window, node) = import(source, &[3, 2], &[7, 7]).unwrap();
        assert_eq!(window, Window::of(&node, vec![3, 2]));
        assert_eq!(window.output(&[Dim::Known(7), Dim::Known(7)]).unwrap(), [Dim::Known(4), Dim::Known(6)]);
    }

    #[test]
    fn auto_pad_becomes_explicit() {
        for (mode, begin, end, out) in [("SAME_UPPER", 0, 1, 4), ("SAME_LOWER", 1, 0, 4), ("VALID", 0, 0, 3)] {
            let (window, _) = import(vec![auto_pad(mode), attribute("strides", &[2])], &[3], &[8]).unwrap();
            assert_eq!((window.pads_begin[0], window.pads_end[0]), (begin, end), "{mode}");
            assert_eq!(window.windows(0, 8), Ok(out), "{mode}");
        }
    }

    #[test]
    fn ceil_mode_drops_windows_that_start_in_the_padding() {
        let window = |kernel: usize, stride: usize, pad: usize| Window {
            kernel: vec![kernel],
            strides: vec![stride],
            dilations: vec![1],
            pads_begin: vec![pad],
            pads_end: vec![pad],
            ceil: true,
        };
        // The last window would start at 4 of 1 + 3: dropped.
        assert_eq!(window(2, 2, 1).windows(0, 3), Ok(2));
        assert_eq!(window(3, 2, 0).windows(0, 6), Ok(3));
        assert_eq!(window(3, 2, 1).windows(0, 112), Ok(57));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(import(vec![attribute("strides", &[0])], &[3], &[8]).unwrap_err().contains("`strides` holds 0"));
        assert!(import(vec![attribute("pads", &[-1, 0])], &[3], &[8]).unwrap_err().contains("`pads` holds -1"));
        assert!(import(vec![attribute("pads", &[0])], &[3], &[8]).unwrap_err().contains("1 entries where 2"));
        assert!(import(vec![], &[3, 3], &[8]).unwrap_err().contains("2 axes"));
        let (window, _) = import(vec![], &[9], &[8]).unwrap();
        assert!(window.windows(0, 8).unwrap_err().contains("does not fit"));
    }
}
