// Where to start from. A preset sets a few fields; everything stays open to change below.
export const PRESETS = [
  { id: "quick", title: "Quick look", words: "4 points, no training: calibrated accuracy only.", set: { "search.points": 4, training: null, "sensitivity.budget_s": 20 } },
  { id: "best-without-training", title: "Best without training", words: "8 points; ranges, rounding and corrections are tried for each, the best kept.", set: { "search.points": 8, training: null, "post_training.preset": "best", "sensitivity.budget_s": 60 } },
  { id: "balanced", title: "Balanced", words: "8 points, 3 epochs each: the usual choice.", set: { "search.points": 8, "training.epochs": 3, "sensitivity.budget_s": 60 } },
  { id: "thorough", title: "Thorough", words: "16 points, 15 epochs each: for numbers to publish.", set: { "search.points": 16, "training.epochs": 15, "sensitivity.budget_s": 300 } },
];
