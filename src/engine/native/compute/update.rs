//! Penalty, momentum and step on one parameter in a single pass.

use super::Cores;
use super::disjoint_slice::DisjointSlice;
use super::for_isa::for_isa;
use super::lanes::LANES;

/// Elements of one task, and of one partial sum of the penalty's term.
const CHUNK: usize = 1 << 14;

/// The quadratic penalties: `(s/2)·Σ F·(w − w⁰)²` with the gradient `s·F·(w − w⁰)`.
#[derive(Clone, Copy)]
pub struct Pull<'a> {
    pub strength: f32,
    /// `None` is 0.
    pub start: Option<&'a [f32]>,
    /// `None` is 1.
    pub fisher: Option<&'a [f32]>,
}

/// `v ← μ·v + g`, `w ← w − lr·v`, or with Nesterov's variant `w ← w − lr·(g + μ·v)`.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// The values before; `None` where the buffer of the result holds them.
    pub w: Option<&'a [f32]>,
    pub velocity: Option<&'a [f32]>,
    pub gradient: &'a [f32],
    pub lr: f32,
    pub momentum: f32,
    pub nesterov: bool,
    pub pull: Option<Pull<'a>>,
}

for_isa! {
    /// One range of elements, whose `w` and `v` are replaced by the next ones.
    fn chunk<V>(isa, step: &Step, range: std::ops::Range<usize>, w: &mut [f32], v: &mut [f32], term: &mut f32) {
        let mut sum = V::splat(isa, 0.0);
        let whole = range.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let at = range.start + i;
            let old = V::load(isa, &w[i..]);
            let mut g = V::load(isa, &step.gradient[at..]);
            if let Some(pull) = &step.pull {
                let mut d = old;
                if let Some(start) = pull.start {
                    d = d.sub(V::load(isa, &start[at..]));
                }
                let mut force = d;
                if let Some(fisher) = pull.fisher {
                    force = d.mul(V::load(isa, &fisher[at..]));
                }
                sum = sum.add(d.mul(force));
                g = g.add(force.scaled(pull.strength));
            }
            let moved = V::load(isa, &v[i..]).scaled(step.momentum).add(g);
            let direction = if step.nesterov { g.add(moved.scaled(step.momentum)) } else { moved };
            moved.store(&mut v[i..]);
            old.sub(direction.scaled(step.lr)).store(&mut w[i..]);
        }
        let mut sums = [0.0; LANES];
        sum.store(&mut sums);
        let mut total: f32 = sums.iter().sum();
        for i in whole..range.len() {
            let at = range.start + i;
            let mut g = step.gradient[at];
            if let Some(pull) = &step.pull {
                let d = w[i] - pull.start.map_or(0.0, |s| s[at]);
                let force = d * pull.fisher.map_or(1.0, |f| f[at]);
                total += d * force;
                g += force * pull.strength;
            }
            v[i] = v[i] * step.momentum + g;
            let direction = if step.nesterov { g + v[i] * step.momentum } else { v[i] };
            w[i] -= direction * step.lr;
        }
        *term = total;
    }
}

/// Writes the next `w` and `v`; gives the penalty's term.
pub fn update(cores: &Cores, step: &Step, w: &mut [f32], v: &mut [f32]) -> f32 {
    let len = w.len();
    assert!(step.gradient.len() == len && v.len() == len);
    assert!(step.w.is_none_or(|w| w.len() == len) && step.velocity.is_none_or(|v| v.len() == len));
    assert!(step.pull.is_none_or(|p| p.start.is_none_or(|s| s.len() == len) && p.fisher.is_none_or(|f| f.len() == len)));
    let (parts, isa) = (len.div_ceil(CHUNK), cores.isa());
    let mut terms = vec![0.0f32; parts];
    let (w, v, shared) = (DisjointSlice::new(w), DisjointSlice::new(v), DisjointSlice::new(&mut terms));
    cores.run(parts, &|part| {
        let range = part * CHUNK..((part + 1) * CHUNK).min(len);
        // SAFETY: every task has its own elements and its own term.
        let (w, v, term) = unsafe { (w.part(range.start, range.len()), v.part(range.start, range.len()), shared.part(part, 1)) };
        // A chunk fits the caches: what is copied here is read from there.
        if let Some(before) = step.w {
            w.copy_from_slice(&before[range.clone()]);
        }
        if let Some(before) = step.velocity {
            v.copy_from_slice(&before[range.clone()]);
        }
        chunk(isa, step, range, w, v, &mut term[0]);
    });
    let total: f64 = terms.iter().map(|&t| t as f64).sum();
    step.pull.map_or(0.0, |p| (total * p.strength as f64 / 2.0) as f32)
}
