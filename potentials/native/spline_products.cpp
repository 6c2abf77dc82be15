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

// Whether a member's numbers of an edge are those of the member before; then what follows from them need not be made anew.
template <class T> bool repeated(const T *here, int64_t apart, int64_t member, int size) {
    return member && !std::memcmp(here, here - apart, size_t(size) * sizeof(T));
}

template <class T>
void spline_out(Edges<T> g, const Coupling<T> &c, Spline<T> spline, Members members, const T *distance, const T *left,
                const T *right, T *out) {
    const int channels = int(g.channels), size = c.n_paths * channels;
    const int64_t n_edges = g.starts[g.n_atoms], lefts = int64_t(c.n_left) * channels, outs = int64_t(c.n_out) * channels;
    in_parallel<T>(g.n_atoms, g.threads, c, [&](int64_t atom, Scratch<T> &scratch) {
        scratch.radial.resize(size);
        T *radial = scratch.radial.data();
        for (int64_t m = 0; m < members.count; ++m) {
            T *sum = out + (m * g.n_atoms + atom) * outs;
            std::fill(sum, sum + outs, T(0));
        }
        for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge)
            for (int64_t m = 0; m < members.count; ++m) {
                const int64_t here = m * n_edges + edge;
                interpolate<T>(spline.of(m * members.table), distance[here], size, radial, nullptr);
                const T *r = right + here * c.n_right;
                if (!repeated(r, n_edges * c.n_right, m, c.n_right)) right_factors(c, r, scratch.factors.data());
                const T *l = left + (m * g.n_atoms + g.neighbour[edge]) * lefts;
                add_edge(c, radial, l, channels, scratch, out + (m * g.n_atoms + atom) * outs);
            }
    });
}

// All first derivatives at once. `left_grad` may be absent: where the features do not depend on positions.
template <class T>
void spline_gradients(Edges<T> g, const Coupling<T> &c, Spline<T> spline, Members members, const T *distance, const T *left,
                      const T *right, const T *out_grad, T *distance_grad, T *left_grad, T *right_grad) {
    const int channels = int(g.channels), size = c.n_paths * channels;
    const int64_t n_edges = g.starts[g.n_atoms], lefts = int64_t(c.n_left) * channels, outs = int64_t(c.n_out) * channels;
    in_parallel<T>(g.n_atoms, g.threads, c, [&](int64_t atom, Scratch<T> &scratch) {
        scratch.radial.resize(size), scratch.slope.resize(size), scratch.reversed.resize(scratch.factors.size());
        T *radial = scratch.radial.data(), *slope = scratch.slope.data();
        for (int64_t m = 0; left_grad && m < members.count; ++m) {
            T *pulled = left_grad + (m * g.n_atoms + atom) * lefts;
            std::fill(pulled, pulled + lefts, T(0));
        }
        for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge)
            for (int64_t m = 0; m < members.count; ++m) {
                const int64_t here = m * n_edges + edge, there = m * n_edges + g.reverse[edge];
                const int64_t own = m * g.n_atoms + atom, other = m * g.n_atoms + g.neighbour[edge];
                interpolate<T>(spline.of(m * members.table), distance[here], size, radial, slope);
                const T *r = right + here * c.n_right, *back = right + there * c.n_right, *l = left + other * lefts;
                right_factors(c, r, scratch.factors.data()); // spent by `pull_right`
                distance_grad[here] = along_radial(c, out_grad + own * outs, l, slope, channels, scratch);
                pull_right(c, out_grad + own * outs, radial, l, channels, scratch, right_grad + here * c.n_right);
                if (!left_grad) continue;
                if (!repeated(back, n_edges * c.n_right, m, c.n_right)) right_factors(c, back, scratch.reversed.data());
                std::swap(scratch.factors, scratch.reversed);
                pull_left(c, out_grad + other * outs, radial, channels, scratch, left_grad + own * lefts);
                std::swap(scratch.factors, scratch.reversed);
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
