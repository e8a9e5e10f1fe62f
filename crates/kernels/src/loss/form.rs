//! What a loss is made of, in numbers: all that a kernel needs to know of it.

/// A loss of instances that do not depend on each other: the part of their labels, and what may come with it.
#[derive(Debug, Clone, PartialEq)]
pub struct RowForm {
    /// The part of the labels.
    pub labels: LabelForm,
    /// Weight of each label's part where the label is present, and where it is absent, each `[labels]`; none: 1.
    pub weights: Option<[Vec<f32>; 2]>,
    /// One more output: is there any label at all.
    pub presence: Option<Presence>,
    /// Weight of each instance, on the parts above.
    pub balance: Option<InstanceBalance>,
    /// A margin around 0, beside the parts above.
    pub margin: Option<Margin>,
}

/// Value of one label's logit `z`. `u`: z where the label is absent, -z where it is present; `q = σ(u)`.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelForm {
    /// `q^γ softplus(u)`.
    Focused {
        /// γ where the label is present, and where it is absent.
        gamma: [f32; 2],
        /// 1: the gradient passes through the factor `q^γ`; 0: the factor is a constant.
        through: f32,
    },
    /// The same for present labels; `-(q_m)^γ ln(1 - q_m)` with `q_m = max(0, q - clip)` for absent ones.
    Clipped {
        /// γ where the label is present, and where it is absent.
        gamma: [f32; 2],
        /// 1: the gradient passes through the factor; 0: the factor is a constant.
        through: f32,
        /// Probability below which an absent label costs nothing, above 0.
        clip: f32,
    },
    /// Distribution-balanced: focused, of `z - bias`, weighed by how the instance's labels occur together.
    Balanced {
        /// α, β and μ of the smoothed weight `α + σ(β (r - μ))`.
        smoothing: [f32; 3],
        /// λ: scales the logit of absent labels and divides their loss.
        lambda: f32,
        /// γ of both kinds.
        gamma: f32,
        /// `1/n_l`, `[labels]`.
        inverse: Vec<f32>,
        /// `[labels]`.
        bias: Vec<f32>,
    },
    /// `log(1 + Σ_present e^{-z}) + log(1 + Σ_absent e^z)`, one value an instance.
    Ranking,
}

/// `α q^γ softplus(u)` of the weighted mean of the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Presence {
    /// α.
    pub alpha: f32,
    /// Weight of absent labels in an instance that has some.
    pub lambda: f32,
    /// γ.
    pub gamma: f32,
}

/// The weight of an instance: sum or mean of its labels' weights.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceBalance {
    /// `[labels]`.
    pub labels: Vec<f32>,
    /// Of an instance without labels.
    pub negative: f32,
    /// The mean instead of the sum.
    pub mean: bool,
}

/// `weight · Σ_l max(0, δ - s z)`, s = 1 where the label is present, -1 where it is absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margin {
    /// δ.
    pub delta: f32,
    /// Factor on the sum.
    pub weight: f32,
    /// `|z|` takes the place of `s z`.
    pub band: bool,
}

/// What a kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    pub(super) kind: Kind,
    pub(super) weighed: bool,
    pub(super) presence: bool,
    pub(super) balance: bool,
    pub(super) mean: bool,
    pub(super) margin: bool,
    pub(super) band: bool,
}

/// Which [`LabelForm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Focused,
    Clipped,
    Balanced,
    Ranking,
}

/// Places of the single numbers that a kernel reads.
pub(super) mod at {
    pub const GAMMA_PRESENT: usize = 0;
    pub const GAMMA_ABSENT: usize = 1;
    pub const THROUGH: usize = 2;
    pub const CLIP: usize = 3;
    pub const ALPHA: usize = 4;
    pub const BETA: usize = 5;
    pub const MU: usize = 6;
    pub const LAMBDA: usize = 7;
    pub const PRESENCE_ALPHA: usize = 8;
    pub const PRESENCE_LAMBDA: usize = 9;
    pub const PRESENCE_GAMMA: usize = 10;
    pub const NEGATIVE: usize = 11;
    pub const DELTA: usize = 12;
    pub const MARGIN: usize = 13;
    pub const COUNT: usize = 14;
}

/// Rows of the numbers of labels that a kernel reads.
pub(super) mod row {
    pub const PRESENT: usize = 0;
    pub const ABSENT: usize = 1;
    pub const BALANCE: usize = 2;
    pub const INVERSE: usize = 3;
    pub const BIAS: usize = 4;
    pub const COUNT: usize = 5;
}

impl RowForm {
    /// A form of labels alone.
    pub fn of_labels(labels: LabelForm) -> Self {
        Self { labels, weights: None, presence: None, balance: None, margin: None }
    }

    /// Values an instance's loss is the sum of.
    pub fn parts(&self) -> usize {
        1 + usize::from(self.presence.is_some()) + usize::from(self.margin.is_some())
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            kind: match self.labels {
                LabelForm::Focused { .. } => Kind::Focused,
                LabelForm::Clipped { .. } => Kind::Clipped,
                LabelForm::Balanced { .. } => Kind::Balanced,
                LabelForm::Ranking => Kind::Ranking,
            },
            weighed: self.weights.is_some(),
            presence: self.presence.is_some(),
            balance: self.balance.is_some(),
            mean: self.balance.as_ref().is_some_and(|b| b.mean),
            margin: self.margin.is_some(),
            band: self.margin.is_some_and(|m| m.band),
        }
    }

    /// The single numbers, at their places.
    pub(super) fn numbers(&self) -> [f32; at::COUNT] {
        let mut out = [0.0; at::COUNT];
        let mut put = |place: usize, value: f32| out[place] = value;
        match &self.labels {
            LabelForm::Focused { gamma, through } | LabelForm::Clipped { gamma, through, .. } => {
                put(at::GAMMA_PRESENT, gamma[0]);
                put(at::GAMMA_ABSENT, gamma[1]);
                put(at::THROUGH, *through);
            }
            LabelForm::Balanced { smoothing: [alpha, beta, mu], lambda, gamma, .. } => {
                put(at::GAMMA_PRESENT, *gamma);
                put(at::GAMMA_ABSENT, *gamma);
                put(at::THROUGH, 1.0);
                put(at::ALPHA, *alpha);
                put(at::BETA, *beta);
                put(at::MU, *mu);
                put(at::LAMBDA, *lambda);
            }
            LabelForm::Ranking => {}
        }
        if let LabelForm::Clipped { clip, .. } = self.labels {
            put(at::CLIP, clip);
        }
        if let Some(presence) = self.presence {
            put(at::PRESENCE_ALPHA, presence.alpha);
            put(at::PRESENCE_LAMBDA, presence.lambda);
            put(at::PRESENCE_GAMMA, presence.gamma);
        }
        if let Some(balance) = &self.balance {
            put(at::NEGATIVE, balance.negative);
        }
        if let Some(margin) = self.margin {
            put(at::DELTA, margin.delta);
            put(at::MARGIN, margin.weight);
        }
        out
    }

    /// The numbers of labels, flat `[rows, labels]`.
    pub(super) fn by_label(&self, labels: usize) -> Vec<f32> {
        let mut out = vec![0.0; row::COUNT * labels];
        let mut put = |place: usize, values: &[f32]| out[place * labels..][..labels].copy_from_slice(values);
        let ones = || vec![1.0; labels];
        let [present, absent] = self.weights.clone().unwrap_or_else(|| [ones(), ones()]);
        put(row::PRESENT, &present);
        put(row::ABSENT, &absent);
        if let Some(balance) = &self.balance {
            put(row::BALANCE, &balance.labels);
        }
        if let LabelForm::Balanced { inverse, bias, .. } = &self.labels {
            put(row::INVERSE, inverse);
            put(row::BIAS, bias);
        }
        out
    }
}
