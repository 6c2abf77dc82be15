// Sums of tensor products over edges whose radial factors are read from a table: quintic Hermite splines of the distance.
// Nothing that has channels is kept for edges.

#include "couplings.hpp"

namespace {

template <class T> struct Spline {
    const T *knots;          // [n_knots, 3, paths, channels]
    int64_t n_knots;
    double start, step;      // Å

    Spline of(int64_t further) const { return Spline{knots + further, n_knots, start, step}; }
};

// Weights of value, slope and curvature at both ends of the interval of a distance, and the derivatives of these weights.
struct Interval {
    int64_t knot;
    double weight[6], slope[6];

    Interval(double distance, double start, double step, int64_t n_knots) {
        const double x = std::min((distance - start) / step, double(n_knots - 1));
        knot = std::max<int64_t>(0, std::min<int64_t>(int64_t(x), n_knots - 2));
        const double t = x - double(knot), t2 = t * t, t3 = t2 * t, t4 = t3 * t, t5 = t4 * t;
        weight[5] = 0.5 * t3 - t4 + 0.5 * t5;
        weight[4] = -4 * t3 + 7 * t4 - 3 * t5;
        weight[3] = 10 * t3 - 15 * t4 + 6 * t5;
        weight[0] = 1 - weight[3];
        weight[1] = t - 6 * t3 + 8 * t4 - 3 * t5;
        weight[2] = 0.5 * t2 - 1.5 * t3 + 1.5 * t4 - 0.5 * t5;
        slope[3] = (30 * t2 - 60 * t3 + 30 * t4) / step;
        slope[4] = (-12 * t2 + 28 * t3 - 15 * t4) / step;
        slope[5] = (1.5 * t2 - 4 * t3 + 2.5 * t4) / step;
        slope[0] = -slope[3];
        slope[1] = (1 - 18 * t2 + 32 * t3 - 15 * t4) / step;
        slope[2] = (t - 4.5 * t2 + 6 * t3 - 2.5 * t4) / step;
    }
};

// values[i] = sum over the six rows of weight times row, and the same with the slopes where `slopes` is given
template <class T>
void interpolate(const Spline<T> &spline, double distance, int size, T *values, T *slopes) {
    const Interval at(distance, spline.start, spline.step, spline.n_knots);
    const T *rows = spline.knots + at.knot * 3 * size;
    T w[6], d[6];
    for (int k = 0; k < 6; ++k) w[k] = T(at.weight[k]), d[k] = T(at.slope[k]);
    over_channels<T>(size, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value;
        V value[N] = {}, slope[N] = {};
        for (int k = 0; k < 6; ++k)
            for (int n = 0; n < N; ++n) {
                const V row = load<V>(rows + int64_t(k) * size + first, n);
                value[n] += w[k] * row;
                if (slopes) slope[n] += d[k] * row;
            }
        for (int n = 0; n < N; ++n) store<V>(values + first, n, value[n]);
        if (slopes)
            for (int n = 0; n < N; ++n) store<V>(slopes + first, n, slope[n]);
    });
}

// Several potentials of one architecture on the same edges: their arrays lie one after another, `table` numbers apart.
struct Members {
    int64_t count, table;
};

template <class T>
void spline_out(Edges<T> g, const Coupling<T> &c, Spline<T> all, Members members, const T *distance, const T *left,
                const T *right, T *out) {
    const int channels = int(g.channels), size = c.n_paths * channels;
    const int64_t n_edges = g.starts[g.n_atoms], lefts = int64_t(c.n_left) * channels, outs = int64_t(c.n_out) * channels;
    // a member after the other: the rows of its table stay near
    in_parallel<T>(members.count * g.n_atoms, g.threads, c, [&](int64_t which, Scratch<T> &scratch) {
        scratch.radial.resize(size);
        const int64_t member = which / g.n_atoms, atom = which % g.n_atoms;
        const Spline<T> spline = all.of(member * members.table);
        T *sum = out + which * outs, *radial = scratch.radial.data();
        std::fill(sum, sum + outs, T(0));
        for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
            const int64_t here = member * n_edges + edge;
            interpolate<T>(spline, distance[here], size, radial, nullptr);
            right_factors(c, right + here * c.n_right, scratch.factors.data());
            add_edge(c, radial, left + (member * g.n_atoms + g.neighbour[edge]) * lefts, channels, scratch, sum);
        }
    });
}

// All first derivatives at once. `left_grad` may be absent: where the features do not depend on positions.
template <class T>
void spline_gradients(Edges<T> g, const Coupling<T> &c, Spline<T> all, Members members, const T *distance, const T *left,
                      const T *right, const T *out_grad, T *distance_grad, T *left_grad, T *right_grad) {
    const int channels = int(g.channels), size = c.n_paths * channels;
    const int64_t n_edges = g.starts[g.n_atoms], lefts = int64_t(c.n_left) * channels, outs = int64_t(c.n_out) * channels;
    in_parallel<T>(members.count * g.n_atoms, g.threads, c, [&](int64_t which, Scratch<T> &scratch) {
        scratch.radial.resize(size), scratch.slope.resize(size);
        const int64_t member = which / g.n_atoms, atom = which % g.n_atoms;
        const Spline<T> spline = all.of(member * members.table);
        T *pulled = left_grad ? left_grad + which * lefts : nullptr;
        T *radial = scratch.radial.data(), *slope = scratch.slope.data();
        if (pulled) std::fill(pulled, pulled + lefts, T(0));
        for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
            const int64_t here = member * n_edges + edge, other = member * g.n_atoms + g.neighbour[edge];
            const T *l = left + other * lefts, *own = out_grad + which * outs;
            interpolate<T>(spline, distance[here], size, radial, slope);
            right_factors(c, right + here * c.n_right, scratch.factors.data());
            distance_grad[here] = along_radial(c, own, l, slope, channels, scratch);
            pull_right(c, own, radial, l, channels, scratch, right_grad + here * c.n_right);
            if (!pulled) continue;
            right_factors(c, right + (member * n_edges + g.reverse[edge]) * c.n_right, scratch.factors.data());
            pull_left(c, out_grad + other * outs, radial, channels, scratch, pulled);
        }
    });
}

} // namespace

#define BOTH(T, SUFFIX)                                                                                               \
    extern "C" void spline_out_##SUFFIX(                                                                              \
        int64_t n_atoms, int64_t channels, int threads, const int32_t *table, const double *values,                   \
        const int64_t *neighbour, const int64_t *reverse, const int64_t *starts, const T *knots,                      \
        int64_t n_knots, double start, double step, int64_t members, int64_t apart, const T *distance,                \
        const T *left, const T *right, T *out) {                                                                      \
        spline_out(Edges<T>{n_atoms, channels, neighbour, reverse, starts, threads}, Coupling<T>(table, values),      \
                   Spline<T>{knots, n_knots, start, step}, Members{members, apart}, distance, left, right, out);      \
    }                                                                                                                 \
    extern "C" void spline_gradients_##SUFFIX(                                                                        \
        int64_t n_atoms, int64_t channels, int threads, const int32_t *table, const double *values,                   \
        const int64_t *neighbour, const int64_t *reverse, const int64_t *starts, const T *knots,                      \
        int64_t n_knots, double start, double step, int64_t members, int64_t apart, const T *distance,                \
        const T *left, const T *right, const T *out_grad, T *distance_grad, T *left_grad, T *right_grad) {            \
        spline_gradients(Edges<T>{n_atoms, channels, neighbour, reverse, starts, threads},                            \
                         Coupling<T>(table, values), Spline<T>{knots, n_knots, start, step}, Members{members, apart}, \
                         distance, left, right, out_grad, distance_grad, left_grad, right_grad);                      \
    }
BOTH(float, float32)
BOTH(double, float64)
